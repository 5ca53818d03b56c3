/** Sends the forms of the API page, and verifies tokens in its panel. Runs in a browser; depends on its neighbours. */
import { callApi, curlOf, type ApiAnswer, type ApiCall } from "./calls.js";
import { decodeToken, meaningOf, verifyToken, type PublishedKey, type Verdict } from "./token.js";

function elementOf<T extends Element>(
  selector: string,
  type: new () => T,
  within: ParentNode = document,
): T {
  const found = within.querySelector(selector);
  if (!(found instanceof type)) throw new TypeError(`the page has no ${selector}`);
  return found;
}

function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  ...content: readonly (string | Node)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  made.append(...content);
  return made;
}

function withClass<T extends Element>(className: string, made: T): T {
  made.className = className;
  return made;
}

const tokenText = elementOf("#token-text", HTMLTextAreaElement);
const verdictLine = elementOf("#verdict", HTMLElement);
const claimsTable = elementOf("#claims", HTMLElement);

for (const form of document.forms) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void send(form);
  });
  elementOf("button.copy", HTMLButtonElement, form).addEventListener(
    "click",
    () => void copyCurl(form),
  );
}
tokenText.addEventListener("input", () => void showToken());

async function send(form: HTMLFormElement): Promise<void> {
  const panel = form.nextElementSibling;
  const button = elementOf("button", HTMLButtonElement, form);
  button.disabled = true;
  try {
    const answer = await callApi(callOf(form));
    const token = tokenIn(answer);
    panel?.replaceChildren(...answerContent(answer, token !== undefined));
    if (token !== undefined) {
      tokenText.value = token;
      await showToken();
    }
  } catch {
    panel?.replaceChildren(element("p", "The server does not answer."));
  } finally {
    button.disabled = false;
    // The button has lost the focus while it was disabled.
    if (document.activeElement === document.body) button.focus();
  }
}

function callOf(form: HTMLFormElement): ApiCall {
  const data = new FormData(form);
  const read = (name: string) => {
    const value = data.get(name);
    return typeof value === "string" ? value : "";
  };
  const { method = "GET", path = "/", body } = form.dataset;
  const [username, password] = [read("username"), read("password")];
  const credentials = read("credentials");
  return {
    ...{ method, path },
    protocol: data.has("protocol") ? (read("protocol") as ApiCall["protocol"]) : "plain",
    credentials:
      credentials === "basic"
        ? { scheme: "basic", username, password }
        : credentials === "bearer"
          ? { scheme: "bearer", token: tokenText.value.trim() }
          : undefined,
    message: body === "pair" ? { username, password } : body === "empty" ? {} : undefined,
  };
}

/** Copies the form's call as a command. A page that may not write to the clipboard shows it instead. */
async function copyCurl(form: HTMLFormElement): Promise<void> {
  const call = callOf(form);
  const command = curlOf(call, document.baseURI);
  const output = elementOf("output", HTMLOutputElement, form);
  const secret =
    call.credentials?.scheme === "bearer"
      ? " with the token"
      : form.querySelector("[type=password]") && " with the password";
  const protocol = call.protocol === "grpc-web" ? ", over Connect" : "";
  try {
    await navigator.clipboard.writeText(command);
    output.replaceChildren(`Copied${secret ?? ""}${protocol}.`);
  } catch {
    output.replaceChildren(element("pre", command));
  }
}

const tokenIn = ({ isAccepted, body }: ApiAnswer) =>
  isAccepted
    ? /"(?:token|data|accessToken)":"(eyJ[\w-]+\.[\w-]+\.[\w-]+)"/.exec(body)?.[1]
    : undefined;

function answerContent({ status, isAccepted, headers, body, ms }: ApiAnswer, hasToken: boolean) {
  const badge = withClass(`badge ${isAccepted ? "good" : "bad"}`, element("span", status));
  const time = withClass("muted", element("span", `${Math.round(ms)} ms`));
  const line = withClass("line", element("p", badge, " ", time));
  if (hasToken) {
    const link = element("a", "See its token verified");
    link.href = "#token";
    line.append(" ", link);
  }
  const shown = body === "" ? element("p", "No body.") : element("pre", prettyOf(body));
  const rows = headers.map(([name, value]) => row(name, value));
  const table = element("table", element("tbody", ...rows));
  const details = element("details", element("summary", `${headers.length} headers`), table);
  return [line, shown, details];
}

function row(name: string, ...content: readonly (string | Node)[]): HTMLTableRowElement {
  const head = element("th", name);
  head.scope = "row";
  return element("tr", head, element("td", ...content));
}

function prettyOf(body: string): string {
  try {
    return JSON.stringify(JSON.parse(body), undefined, 2);
  } catch {
    return body;
  }
}

let latest = 0;
let expiry: ReturnType<typeof setTimeout> | undefined;
const timerMsMax = 2 ** 31 - 1;

/** Decodes and verifies the token in the text field, and does so again when it expires. */
async function showToken(): Promise<void> {
  const turn = ++latest;
  clearTimeout(expiry);
  const text = tokenText.value.trim();
  const token = decodeToken(text);
  claimsTable.replaceChildren();
  if (token === undefined) {
    const title = text === "" ? "No token" : "Not a token";
    const detail =
      text === ""
        ? "Send a form, or paste one."
        : "A token is three parts of base64url, with dots between them.";
    showVerdict({ tone: text === "" ? "warn" : "bad", title, detail });
    return;
  }
  claimsTable.append(membersOf("Claims", token.claims), membersOf("Header", token.header));
  const verdict = await verifyToken(token, readKeys, Date.now()).catch((): Verdict => ({
    tone: "warn",
    title: "Not verified",
    detail: "The key set cannot be read.",
  }));
  if (turn !== latest) return;
  showVerdict(verdict);
  const leftMs = Number(token.claims["exp"]) * 1000 - Date.now();
  if (leftMs > 0 && leftMs < timerMsMax) expiry = setTimeout(() => void showToken(), leftMs);
}

function showVerdict({ tone, title, detail }: Verdict): void {
  verdictLine.className = `verdict ${tone}`;
  verdictLine.replaceChildren(element("b", title), detail);
}

function membersOf(caption: string, members: Readonly<Record<string, unknown>>): HTMLTableElement {
  const now = Date.now();
  const rows = Object.entries(members).map(([name, value]) => {
    const meaning = meaningOf(name, value, now);
    const code = element("code", typeof value === "string" ? value : JSON.stringify(value));
    return row(name, code, ...(meaning === "" ? [] : [element("small", meaning)]));
  });
  return element(
    "table",
    withClass("hidden", element("caption", caption)),
    element("tbody", ...rows),
  );
}

async function readKeys(): Promise<readonly PublishedKey[]> {
  const response = await fetch(".well-known/jwks.json", { cache: "no-cache", credentials: "omit" });
  if (!response.ok) throw new Error(`the key set answers ${response.status}`);
  return ((await response.json()) as { readonly keys: readonly PublishedKey[] }).keys;
}
