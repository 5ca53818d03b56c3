/** The status page, rendered on the server: state, traffic and keys. Depends on its neighbours and observability. */
import { hourMinutes, hourWords, type HourWord } from "../observability/last-hour.js";
import { html, Html } from "./html.js";
import type { ProcessStatus, Status, StatusKey, StatusTakeover } from "./status.js";

export function renderStatusPage({ version, problems, now, processes, status }: Status): Html {
  const isReady = Object.keys(problems).length === 0;
  return html`<html lang="en">
    <head>
      <meta charset="utf-8" />
      <meta name="viewport" content="width=device-width, initial-scale=1" />
      <title>${isReady ? "Ready" : "Not ready"} · Latchkey</title>
      <link rel="icon" href="page/icon.svg" type="image/svg+xml" />
      <link rel="stylesheet" href="page/status.css" />
      <script type="module" src="page/status-page.js"></script>
    </head>
    <body>
      <div class="wrap">
        <header class="bar">
          <span class="brand"
            ><img src="page/icon.svg" alt="" /> Latchkey <small>${version}</small></span
          >
          <a href="metrics">metrics</a>
          <a href="readyz">readyz</a>
        </header>
        <p id="connection" role="alert"></p>
        <main>
          <section class="state ${isReady ? "ready" : "not-ready"}" id="state" role="status">
            <h1><span class="dot"></span>${isReady ? "Ready" : "Not ready"}</h1>
            ${
              !isReady &&
              html`<ul>
                ${Object.entries(problems).map(
                  ([part, problem]) => html`<li><b>${part}</b>: ${problem}</li>`,
                )}
              </ul>`
            }
            ${status && storeLine(status)}
          </section>
          ${status && cards(status, now)}
        </main>
        <footer id="times">
          As of ${timeOf(now)}.
          ${
            status &&
            html`Serving since
            ${timeOf(status.startedAt)}${processes > 1 && ` in ${processes} processes`}.`
          }
          Refreshed every five seconds.
        </footer>
      </div>
    </body>
  </html>`;
}

const recentMinutes = 2;

function storeLine(status: ProcessStatus): Html | undefined {
  const failed = total(valuesOf(status, ["store_failed"]).slice(-recentMinutes));
  if (failed === 0) return undefined;
  return html`<ul>
    <li>${count(failed)} calls to the store failed in the last ${recentMinutes} minutes</li>
  </ul>`;
}

function cards(status: ProcessStatus, now: number): Html {
  const { takeover } = status;
  return html`<div class="cards">
    ${chartCard("logins", "Logins", loginSeries, status)}
    ${chartCard("renewals", "Renewals", renewalSeries, status)} ${gateCard(status)}
    ${throttleCard(status)} ${keysCard(status, now)} ${familiesCard(status, now)}
    ${takeover && takeoverCard(takeover, now)}
  </div>`;
}

const entry = (name: string, value: string | number | Html) =>
  html`<dt>${name}</dt>
    <dd>${value}</dd>`;

const timeOf = (ms: number) =>
  html`<time datetime="${new Date(ms).toISOString()}">${instant(ms)}</time>`;
const instant = (ms: number) => `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;

interface Series {
  readonly name: string;
  readonly tone: "good" | "plain" | "warn" | "bad";
  readonly words: readonly HourWord[];
}

const throttled = [
  "throttled_by_username_and_network",
  "throttled_by_username",
  "throttled_by_network",
] as const;

const loginSeries: readonly Series[] = [
  { name: "accepted", tone: "good", words: ["accepted"] },
  {
    name: "refused",
    tone: "plain",
    words: ["unknown_user", "wrong_password", "disabled", "no_usable_hash"],
  },
  { name: "throttled", tone: "warn", words: throttled },
  { name: "failed", tone: "bad", words: ["overloaded", "store_unavailable", "internal"] },
];
const renewalSeries: readonly Series[] = [
  { name: "renewed", tone: "good", words: ["renewed"] },
  { name: "refused", tone: "plain", words: ["renewal_refused"] },
  { name: "failed", tone: "bad", words: ["renewal_failed"] },
];

const valuesOf = ({ hour }: ProcessStatus, words: readonly HourWord[]) =>
  hour.rows.map((row) => words.reduce((sum, word) => sum + (row[hourWords.indexOf(word)] ?? 0), 0));
const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
const count = (value: number) => value.toLocaleString("en");

const chartWidth = 600;
const chartHeight = 120;

function chartCard(
  id: string,
  title: string,
  series: readonly Series[],
  status: ProcessStatus,
): Html {
  const values = series.map(({ words }) => valuesOf(status, words));
  const sums = values.map(total);
  const columns = status.hour.rows.map((_, i) => total(values.map((each) => each[i] ?? 0)));
  const highest = Math.max(1, ...columns);
  const label = series.map(({ name }, i) => `${count(sums[i] ?? 0)} ${name}`).join(", ");
  const step = chartWidth / hourMinutes;
  const bars = columns.flatMap((_, minute) => {
    let top = chartHeight;
    return series.map(({ tone }, i) => {
      const height = ((values[i]?.[minute] ?? 0) / highest) * chartHeight;
      top -= height;
      return height === 0
        ? html``
        : svg(
            `<rect class="fill-${tone}" x="${round(minute * step)}" y="${round(top)}" width="${round(step - 1.5)}" height="${round(height)}"/>`,
          );
    });
  });
  return html`<section class="card" id="${id}" aria-labelledby="${id}-title">
    <header>
      <h2 id="${id}-title">${title}</h2>
      <span class="muted">last hour, at most ${count(Math.max(...columns))} a minute</span>
    </header>
    <svg viewBox="0 0 ${chartWidth} ${chartHeight + 1}" role="img" aria-label="${title}: ${label}">
      ${svg(
        `<line class="axis" x1="0" x2="${chartWidth}" y1="${chartHeight + 0.5}" y2="${chartHeight + 0.5}"/>`,
      )}
      ${bars}
    </svg>
    <p class="ends muted"><span>60 minutes ago</span> <span>now</span></p>
    <ul class="legend">
      ${series.map(
        ({ name, tone }, i) =>
          html`<li><i class="fill-${tone}"></i><b>${count(sums[i] ?? 0)}</b> ${name}</li>`,
      )}
    </ul>
  </section>`;
}

/** Markup that is not escaped: its values are numbers and the server's own words. */
const svg = (markup: string) => new Html(markup);
const round = (value: number) => Math.round(value * 100) / 100;

function meter(share: number, tone: string): Html {
  const width = Math.min(1, share) * chartWidth;
  return svg(
    `<svg viewBox="0 0 ${chartWidth} 12" aria-hidden="true"><rect class="track" width="${chartWidth}" height="12" rx="6"/><rect class="fill-${tone}" width="${round(width)}" height="12" rx="6"/></svg>`,
  );
}

function gateCard({ hashes, hashLimits, hour }: ProcessStatus): Html {
  const overloaded = total(hour.rows.map((row) => row[hourWords.indexOf("overloaded")] ?? 0));
  return html`<section class="card" id="gate" aria-labelledby="gate-title">
    <h2 id="gate-title">Password hashes</h2>
    <dl>${entry("Running", `${hashes.running} of ${hashLimits.running}`)}</dl>
    ${meter(hashes.running / hashLimits.running, "good")}
    <dl>${entry("Waiting", `${hashes.waiting} of ${hashLimits.waiting}`)}</dl>
    ${meter(hashes.waiting / hashLimits.waiting, "warn")}
    <dl>${entry("Turned away as overloaded, last hour", count(overloaded))}</dl>
  </section>`;
}

function throttleCard(status: ProcessStatus): Html {
  const names = ["One username from one network", "One username", "One network"];
  return html`<section class="card" id="throttle" aria-labelledby="throttle-title">
    <header>
      <h2 id="throttle-title">Throttle</h2>
      <span class="muted">logins held back, last hour</span>
    </header>
    ${
      status.throttle.isOn
        ? html`<dl>
            ${throttled.map((word, i) =>
              entry(`${names[i] ?? ""} over its limit`, count(total(valuesOf(status, [word])))),
            )}
          </dl>`
        : html`<p><span class="badge warn">off</span> Passwords can be guessed without limit.</p>`
    }
  </section>`;
}

const keyTones: Readonly<Record<string, string>> = {
  ...{ signing: "good", published: "warn", retired: "plain", trusted: "plain", revoked: "bad" },
};
const keyBadges: Readonly<Record<string, string>> = {
  ...{ signing: "good", published: "warn", revoked: "bad" },
};
const rowHeight = 26;

function keysCard({ keys }: ProcessStatus, now: number): Html {
  return html`<section class="card wide" id="keys" aria-labelledby="keys-title">
    <h2 id="keys-title">Signing keys</h2>
    ${
      keys.length === 0
        ? html`<p>Not known yet: the store has not answered since the start.</p>`
        : html`${timeLine(keys, now)}
            <div class="scroll" tabindex="0" role="group" aria-label="Signing keys as a table">
              <table>
                <thead>
                  <tr>
                    <th scope="col">Key</th>
                    <th scope="col">State</th>
                    <th scope="col">Since</th>
                    <th scope="col">Next step</th>
                  </tr>
                </thead>
                <tbody>
                  ${keys.map(
                    ({ kid, state, since, next }) =>
                      html`<tr>
                        <td><code>${kid}</code></td>
                        <td><span class="badge ${keyBadges[state]}">${state}</span></td>
                        <td>${since === undefined ? "from a file" : timeOf(since)}</td>
                        <td>
                          ${
                            next === undefined
                              ? "nothing by itself"
                              : html`${next.step}, ${fromNow(next.at - now)}, at ${timeOf(next.at)}`
                          }
                        </td>
                      </tr>`,
                  )}
                </tbody>
              </table>
            </div>`
    }
  </section>`;
}

/** A time line with a bar for each key, from the first key's start to the last one's next step. */
function timeLine(keys: readonly StatusKey[], now: number): Html {
  const times = keys.flatMap(({ since, next }) => [since ?? now, next?.at ?? now]);
  const first = Math.min(now, ...times);
  const last = Math.max(now + 60_000, ...times);
  const width = 1200;
  const xOf = (time: number) => round(((time - first) / (last - first)) * width);
  const height = keys.length * rowHeight;
  const bars = keys.map(({ state, since = first, next }, i) => {
    const x = xOf(since);
    const barWidth = Math.max(4, xOf(next?.at ?? last) - x);
    return `<rect class="fill-${keyTones[state] ?? "plain"}" x="${x}" y="${i * rowHeight + 8}" width="${round(Math.min(barWidth, width - x))}" height="14" rx="4"/>`;
  });
  const x = xOf(now);
  const label = keys.map(({ kid, state }) => `${kid.slice(0, 8)} is ${state}`).join(", ");
  return html`<svg
      viewBox="0 -4 ${width} ${height + 24}"
      role="img"
      aria-label="Time line: ${label}"
    >
      ${svg(bars.join(""))}
      ${svg(`<line class="now" x1="${x}" x2="${x}" y1="0" y2="${height + 4}"/>`)}
    </svg>
    <p class="ends muted"><span>${timeOf(first)}</span> <span>${timeOf(last)}</span></p>`;
}

function fromNow(ms: number): string {
  if (ms <= 0) return "now";
  const units = [
    [86_400_000, "days"],
    [3_600_000, "hours"],
    [60_000, "minutes"],
    [1000, "seconds"],
  ] as const;
  const [size, unit] = units.find(([size]) => ms >= 2 * size) ?? units[3];
  return `in ${Math.round(ms / size)} ${unit}`;
}

function familiesCard({ sample }: ProcessStatus, now: number): Html {
  const families = Object.entries(sample?.families ?? {}).sort(([, a], [, b]) => b - a);
  const all = total(families.map(([, users]) => users));
  return html`<section class="card" id="families" aria-labelledby="families-title">
    <header>
      <h2 id="families-title">Users by hash family</h2>
      ${sample && html`<span class="muted">a sample, ${minutesAgo(sample.at, now)}</span>`}
    </header>
    ${sample === undefined && html`<p>Not known yet: the store has not answered since the start.</p>`}
    ${sample !== undefined && all === 0 && html`<p>There is no user with a hash.</p>`}
    ${families.map(
      ([family, users]) =>
        html`<dl>${entry(family, `${Math.round((100 * users) / all)} %`)}</dl>
          ${meter(users / all, "good")}`,
    )}
  </section>`;
}

const minutesAgo = (at: number, now: number) => `${Math.round((now - at) / 60_000)} minutes ago`;

const breakerTones = { closed: "good", trying: "warn", open: "bad" } as const;

function takeoverCard({ lead, breaker, progress }: StatusTakeover, now: number): Html {
  return html`<section class="card" id="takeover" aria-labelledby="takeover-title">
    <header>
      <h2 id="takeover-title">Take-over</h2>
      ${progress && html`<span class="muted">counted ${minutesAgo(progress.at, now)}</span>`}
    </header>
    <p>${leadText(lead)}</p>
    ${meter((lead ?? 0) / 100, "good")}
    <dl>
      ${entry(
        "Circuit breaker to the old server",
        html`<span class="badge ${breakerTones[breaker]}">${breaker}</span>`,
      )}
    </dl>
    ${breaker !== "closed" && html`<p>The old server counts as down.</p>`}
    ${progress === undefined ? html`<p>The users are being counted.</p>` : progressEntries(progress)}
  </section>`;
}

function leadText(lead: number | undefined): string {
  if (lead === undefined) return "Who leads is not known: the store has not answered yet.";
  if (lead === 0) return "The old server leads (0 %).";
  return lead === 100
    ? "Latchkey leads (100 %)."
    : `Latchkey leads for ${lead} % of the names, the old server for the others.`;
}

function progressEntries(progress: NonNullable<StatusTakeover["progress"]>): Html {
  const { users, learnt, unknown, differences, forecast } = progress;
  const known = users - unknown;
  return html`<dl>
      ${entry("Users whose password is known", `${count(known)} of ${count(users)}`)}
    </dl>
    ${meter(known / Math.max(1, users), "good")}
    <dl>
      ${entry("Learnt from the old server", count(learnt))}
      ${entry("Kinds of difference, last 7 days", count(differences))}
      ${(["95", "99"] as const).map((percent) =>
        entry(`${percent} % of those who log in known by`, forecast[percent] ?? "not in sight"),
      )}
    </dl>`;
}
