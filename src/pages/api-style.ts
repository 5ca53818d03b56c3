/** The style sheet of the API page. Depends on its neighbour. */
import { theme } from "./theme.js";

export const apiStyle = `${theme}
.intro { padding: clamp(1.5rem, 5vw, 3.5rem) 0 clamp(2rem, 5vw, 3.5rem); max-width: 46rem; display: grid; gap: 1rem; }
.intro .lead { font-size: 1.125rem; color: var(--muted); }
.facts { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: .5rem 0 0; }
.facts dt { color: var(--muted); font-size: .875rem; }
.facts dd { margin: 0; font-weight: 550; overflow-wrap: anywhere; }
.columns { display: grid; gap: 2rem 3rem; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 64rem) {
  .columns { grid-template-columns: minmax(0, 1fr) minmax(0, 27rem); align-items: start; }
  .token { position: sticky; top: 1.5rem; max-height: calc(100vh - 3rem); overflow: auto; }
}
.group { display: grid; gap: 1.25rem; margin-bottom: 3rem; }
.group > header { display: grid; gap: .125rem; }
.operation { display: grid; gap: 1.25rem; grid-template-columns: minmax(0, 1fr); }
.operation > header { display: grid; gap: .375rem; }
.route { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .625rem; overflow-wrap: anywhere; color: var(--muted); }
.route b { color: var(--accent); font-weight: 650; font-size: .8125rem; letter-spacing: .04em; }
form { display: grid; gap: 1rem; }
.fields { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr)); }
label, legend { font-size: .875rem; font-weight: 550; padding: 0; }
.field { display: grid; gap: .375rem; align-content: start; }
input:not([type=radio]), textarea {
  width: 100%; min-height: 2.75rem; padding: .5rem .75rem; font: inherit; color: inherit;
  background: var(--ground); border: 1px solid var(--line-strong); border-radius: .5rem;
}
textarea#token-text { font: .8125rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; resize: vertical; min-height: 7rem; overflow-wrap: anywhere; }
fieldset { border: 0; padding: 0; margin: 0; min-width: 0; }
.choices { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin-top: .25rem; }
.choices label { display: flex; align-items: center; gap: .5rem; min-height: 2rem; font-weight: 400; font-size: 1rem; }
input[type=radio] { accent-color: var(--accent); width: 1.125rem; height: 1.125rem; margin: 0; }
button {
  font: inherit; font-weight: 600; min-height: 2.75rem; padding: .5rem 1.25rem; border-radius: .5rem; cursor: pointer;
  border: 1px solid var(--accent); background: var(--accent); color: var(--on-accent); justify-self: start;
}
.actions { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem .75rem; }
.actions output { font-size: .875rem; min-width: 0; }
button.quiet { background: transparent; color: var(--accent); }
button:disabled { opacity: .6; cursor: progress; }
.answer { background: var(--sunken); border-radius: .5rem; padding: 1rem; display: grid; gap: .75rem; min-width: 0; }
.answer:empty { display: none; }
.answer .line { display: flex; flex-wrap: wrap; gap: .25rem .75rem; align-items: center; }
.answer table { font-size: .8125rem; }
.answer th { font-weight: 500; color: var(--muted); white-space: nowrap; }
.answer td { overflow-wrap: anywhere; }
details > summary { cursor: pointer; color: var(--accent); font-weight: 550; font-size: .9375rem; width: fit-content; min-height: 1.75rem; }
details[open] > summary { margin-bottom: .5rem; }
.scroll { overflow-x: auto; }
.documented pre { background: var(--sunken); border-radius: .5rem; padding: .625rem .75rem; margin-top: .5rem; font-size: .8125rem; }
.documented th { font-variant-numeric: tabular-nums; width: 3.5rem; }
.token { display: grid; gap: 1.25rem; grid-template-columns: minmax(0, 1fr); }
.token table { font-size: .875rem; }
.token th { width: 5.5rem; font-weight: 550; }
.token td { overflow-wrap: anywhere; }
.token td small { display: block; color: var(--muted); font-size: .8125rem; }
.verdict { overflow-wrap: anywhere; border-radius: .5rem; padding: .75rem 1rem; background: var(--sunken); }
.verdict.good { background: var(--accent-soft); color: var(--accent); }
.verdict.bad { background: var(--bad-soft); color: var(--bad); }
.verdict.warn { background: var(--warn-soft); color: var(--warn); }
.verdict b { display: block; }
.claims:empty { display: none; }
@media (max-width: 30rem) { button { width: 100%; } }
`;
