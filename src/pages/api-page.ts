/** The API page: facts, and a form for each operation of the OpenAPI document. Depends on its neighbours. */
import { html, prose, type Html } from "./html.js";
import type { OpenApiDocument, Operation, Response } from "./openapi/document.js";
import type { Json } from "./openapi/schemas.js";

export interface ApiPageOptions {
  readonly issuer: string;
  readonly tokenTtlSeconds: number;
  /** The user to fill into the forms; only in the demo. */
  readonly demoUser: DemoUser | undefined;
}

export interface DemoUser {
  readonly username: string;
  readonly password: string;
}

export function renderApiPage(document: OpenApiDocument, options: ApiPageOptions): Html {
  const { issuer, tokenTtlSeconds, demoUser } = options;
  const { version } = document.info;
  const tags = document["tags"] as readonly { name: string; description: string }[];
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  return html`<html lang="en">
    <head>
      <meta charset="utf-8" />
      <meta name="viewport" content="width=device-width, initial-scale=1" />
      <title>Latchkey</title>
      <link rel="icon" href="page/icon.svg" type="image/svg+xml" />
      <link rel="stylesheet" href="page/api.css" />
      <script type="module" src="page/api-page.js"></script>
    </head>
    <body data-issuer="${issuer}">
      <a class="skip" href="#try">Skip to the forms</a>
      <div class="wrap">
        <header class="bar">
          <span class="brand"
            ><img src="page/icon.svg" alt="" /> Latchkey <small>${version}</small></span
          >
          <a href="#token">Token</a>
          <a href="openapi.json">openapi.json</a>
          <a href="openapi.yaml">openapi.yaml</a>
        </header>
        <main>
          <section class="intro">
            <h1>A password in, a signed token out.</h1>
            <p class="lead">
              This server checks usernames and passwords and issues JSON Web Tokens. Anything that
              receives one verifies it with the published keys, without calling back.
            </p>
            <dl class="facts">
              ${fact("Issuer", issuer)} ${fact("A token lasts", durationOf(tokenTtlSeconds))}
              ${fact("Signed with", "RS256")}
            </dl>
            ${
              demoUser &&
              html`<p>
                This is a demo: everything below is filled in for <b>${demoUser.username}</b>. Send
                a form, and see its token verified.
              </p>`
            }
          </section>
          <div class="columns">
            <div id="try">
              ${tags.map(({ name, description }) =>
                group(
                  name,
                  description,
                  operations.filter(({ operation }) => operation.tags[0] === name),
                  demoUser,
                ),
              )}
            </div>
            ${tokenPanel}
          </div>
        </main>
        <footer>
          The forms call this server and nobody else. Nothing that you type is stored.
        </footer>
      </div>
    </body>
  </html>`;
}

const fact = (name: string, value: string) =>
  html`<div>
    <dt>${name}</dt>
    <dd>${value}</dd>
  </div>`;

function durationOf(seconds: number): string {
  const units = [
    [86_400, "day"],
    [3600, "hour"],
    [60, "minute"],
    [1, "second"],
  ] as const;
  const [size, unit] = units.find(([size]) => seconds >= size && seconds % size === 0) ?? units[3];
  const count = Math.floor(seconds / size);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

interface Described {
  readonly path: string;
  readonly method: string;
  readonly operation: Operation;
}

function group(
  name: string,
  description: string,
  operations: readonly Described[],
  demoUser: DemoUser | undefined,
): Html {
  return html`<section class="group" aria-labelledby="group-${name}">
    <header>
      <h2 id="group-${name}">${name}</h2>
      <p class="muted">${description}</p>
    </header>
    ${operations.map((each) => card(each, demoUser))}
  </section>`;
}

function card({ path, method, operation }: Described, demoUser: DemoUser | undefined): Html {
  const { operationId, summary, description, responses, tags, security, requestBody } = operation;
  const isRpc = tags[0] === "RPC";
  const takesCredentials = (security as readonly Json[]).length > 0;
  const takesPair = !takesCredentials && /login/i.test(operationId);
  return html`<article class="card operation" aria-labelledby="${operationId}-title">
    <header>
      <h3 id="${operationId}-title">${summary}</h3>
      <p class="route"><b>${method.toUpperCase()}</b> <code>${path}</code></p>
      <p>${prose(description)}</p>
    </header>
    <form
      aria-labelledby="${operationId}-title"
      data-method="${method.toUpperCase()}"
      data-path="${path}"
      data-body="${requestBody === undefined ? "" : takesPair ? "pair" : "empty"}"
    >
      ${
        isRpc &&
        choice(operationId, "protocol", "Protocol", [
          ["connect", "Connect"],
          ["grpc-web", "gRPC-Web"],
        ])
      }
      ${
        takesCredentials &&
        choice(operationId, "credentials", "Credentials", [
          ["basic", "Username and password"],
          ["bearer", "The token of this page"],
        ])
      }
      ${(takesCredentials || takesPair) && pairFields(operationId, demoUser)}
      <div class="actions">
        <button>${method === "get" ? "Read" : "Send"}<span class="hidden"> ${path}</span></button>
        <button type="button" class="quiet copy">
          Copy as curl<span class="hidden">: ${path}</span>
        </button>
        <output class="muted"></output>
      </div>
    </form>
    <div class="answer" role="region" aria-label="Answer of ${path}" aria-live="polite"></div>
    <details class="documented">
      <summary>Answers<span class="hidden">: ${path}</span></summary>
      <div class="scroll" tabindex="0" role="group" aria-label="Answers of ${path}">
        <table>
          <thead>
            <tr>
              <th scope="col">Status</th>
              <th scope="col">When</th>
            </tr>
          </thead>
          <tbody>
            ${Object.entries(responses).map(([status, response]) => row(status, response))}
          </tbody>
        </table>
      </div>
    </details>
  </article>`;
}

function row(status: string, response: Response): Html {
  const content = response["content"] as
    Readonly<Record<string, { examples?: Readonly<Record<string, { value: Json }>> }>> | undefined;
  const examples = Object.values(content ?? {}).flatMap(({ examples = {} }) =>
    Object.values(examples),
  );
  return html`<tr>
    <th scope="row">${status}</th>
    <td>
      ${prose(response.description)}
      ${examples.slice(0, 1).map(({ value }) => html`<pre>${shortened(JSON.stringify(value))}</pre>`)}
    </td>
  </tr>`;
}

const shortened = (body: string) => body.replace(/eyJ[\w-]+\.[\w-]+\.[\w-]+/, "eyJ…");

function choice(
  operationId: string,
  name: string,
  legend: string,
  options: readonly (readonly [value: string, label: string])[],
): Html {
  return html`<fieldset>
    <legend>${legend}</legend>
    <div class="choices">
      ${options.map(
        ([value, label], i) =>
          html`<label
            ><input
              type="radio"
              name="${name}"
              value="${value}"
              id="${operationId}-${value}"
              ${i === 0 && html`checked`}
            />
            ${label}</label
          >`,
      )}
    </div>
  </fieldset>`;
}

function pairFields(operationId: string, demoUser: DemoUser | undefined): Html {
  const { username = "", password = "" } = demoUser ?? {};
  const field = (name: string, label: string, type: string, value: string, autocomplete: string) =>
    html`<div class="field">
      <label for="${operationId}-${name}">${label}</label>
      <input
        id="${operationId}-${name}"
        name="${name}"
        type="${type}"
        value="${value}"
        autocomplete="${autocomplete}"
        autocapitalize="none"
        spellcheck="false"
      />
    </div>`;
  return html`<div class="fields">
    ${field("username", "Username", "text", username, "username")}
    ${field("password", "Password", "password", password, "current-password")}
  </div>`;
}

const tokenPanel = html`<section class="card token" id="token" aria-labelledby="token-title">
  <h2 id="token-title">Token</h2>
  <div class="field">
    <label for="token-text">The last token, or one that you paste</label>
    <textarea
      id="token-text"
      rows="5"
      spellcheck="false"
      autocapitalize="none"
      placeholder="eyJ…"
    ></textarea>
  </div>
  <p class="verdict" role="status" id="verdict">
    Send a form: its token is decoded and verified here.
  </p>
  <div class="claims" id="claims"></div>
</section>`;
