/** The style that the pages share: one accent colour, system fonts, light and dark. Depends on nothing. */

export const theme = `
:root {
  color-scheme: light dark;
  --ground: #faf9f7; --surface: #fff; --sunken: #f3f1ed; --line: #e2ded7; --line-strong: #918b82;
  --text: #1d1c1a; --muted: #5e5a54; --accent: #0b6e5f; --on-accent: #fff; --accent-soft: #e1f0ec;
  --bad: #b3261e; --bad-soft: #fbe9e7; --warn: #7a5200; --warn-soft: #faf0d9;
  --radius: .75rem;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #141413; --surface: #1c1c1a; --sunken: #242422; --line: #353431; --line-strong: #7d7972;
    --text: #eceae6; --muted: #aaa69e; --accent: #62cfb9; --on-accent: #06231d; --accent-soft: #16332d;
    --bad: #ff8a80; --bad-soft: #3a1d1b; --warn: #f0c060; --warn-soft: #33290f;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1.5rem; }
body {
  margin: 0; background: var(--ground); color: var(--text);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
code, pre, .mono { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; font-size: .875em; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.55; }
h1, h2, h3 { line-height: 1.25; margin: 0; font-weight: 650; letter-spacing: -.01em; text-wrap: balance; }
h1 { font-size: clamp(1.7rem, 1.2rem + 2vw, 2.4rem); letter-spacing: -.025em; }
h2 { font-size: 1.25rem; }
h3 { font-size: 1.0625rem; }
p { margin: 0; }
a { color: var(--accent); text-underline-offset: .2em; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: .25rem; }
.skip { position: absolute; left: 1rem; top: -4rem; background: var(--accent); color: var(--on-accent); padding: .5rem 1rem; border-radius: 0 0 .5rem .5rem; z-index: 1; }
.skip:focus { top: 0; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.wrap { max-width: 78rem; margin: 0 auto; padding: 0 clamp(1rem, 4vw, 2.5rem); }
.bar { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1.25rem; padding: 1.25rem 0; }
.brand { display: flex; align-items: center; gap: .625rem; font-weight: 650; letter-spacing: -.01em; margin-right: auto; }
.brand img { display: block; width: 1.75rem; height: 1.75rem; }
.brand small { color: var(--muted); font-weight: 400; letter-spacing: 0; }
.card { background: var(--surface); border: 1px solid var(--line); border-radius: var(--radius); padding: clamp(1rem, 3vw, 1.5rem); }
.muted { color: var(--muted); }
.badge { display: inline-block; padding: .1rem .55rem; border-radius: 1rem; font-size: .875rem; font-weight: 600; background: var(--sunken); }
.badge.good { background: var(--accent-soft); color: var(--accent); }
.badge.bad { background: var(--bad-soft); color: var(--bad); }
.badge.warn { background: var(--warn-soft); color: var(--warn); }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem .5rem 0; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--muted); font-weight: 500; font-size: .875rem; }
footer { color: var(--muted); font-size: .9375rem; padding: 3rem 0; }
@media (prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth; } }
`;
