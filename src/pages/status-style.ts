/** The style sheet of the status page. Depends on its neighbour. */
import { theme } from "./theme.js";

export const statusStyle = `${theme}
.state { display: grid; gap: .75rem; padding: clamp(1rem, 4vw, 2.5rem) 0; }
.state h1 { display: flex; align-items: center; gap: .75rem; }
.dot { width: .9em; height: .9em; border-radius: 50%; background: var(--accent); flex: none; }
.state.not-ready .dot { background: var(--bad); }
.state ul { margin: 0; padding: 0; list-style: none; display: grid; gap: .25rem; }
.state li { background: var(--bad-soft); color: var(--bad); padding: .625rem 1rem; border-radius: .5rem; }
.cards { display: grid; gap: 1.25rem; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 56rem) { .cards { grid-template-columns: repeat(2, minmax(0, 1fr)); } .wide { grid-column: 1 / -1; } }
.card { display: grid; gap: 1rem; align-content: start; grid-template-columns: minmax(0, 1fr); }
.card > header { display: flex; flex-wrap: wrap; align-items: baseline; justify-content: space-between; gap: .25rem 1rem; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
.axis { stroke: var(--line); }
.now { stroke: var(--text); stroke-dasharray: 3 3; }
.fill-good { fill: var(--accent); background: var(--accent); }
.fill-plain { fill: var(--line-strong); background: var(--line-strong); }
.fill-warn { fill: #d99a1c; background: #d99a1c; }
.fill-bad { fill: var(--bad); background: var(--bad); }
.track { fill: var(--sunken); }
.legend { display: flex; flex-wrap: wrap; gap: .375rem 1.5rem; margin: 0; padding: 0; list-style: none; font-size: .9375rem; }
.legend i { display: inline-block; width: .75rem; height: .75rem; border-radius: .2rem; margin-right: .4rem; }
.legend b { font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
.scroll table { min-width: 44rem; }
.ends { display: flex; justify-content: space-between; gap: 1rem; font-size: .8125rem; margin-top: -.5rem; }
table { font-size: .875rem; }
td { overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: .375rem 1rem; margin: 0; }
dt { color: var(--muted); }
dd { margin: 0; font-weight: 550; font-variant-numeric: tabular-nums; text-align: right; }
.stale main { opacity: .55; }
#connection { background: var(--bad-soft); color: var(--bad); padding: .75rem 1rem; border-radius: .5rem; }
#connection:empty { display: none; }
`;
