/**
 * `latchkey contract`: checks the REST contract against any server, or compares two servers.
 * Depends on commander and node:http.
 */
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import type { Command } from "commander";
import { describeCommand, type JsonOption, type Session } from "../command.js";
import {
  aspectsOf,
  differences,
  tokenOf,
  type Answer,
  type Aspects,
  type Difference,
} from "../../contract/aspects.js";
import { rows, rowsOf, rowsOfToken, type ContractRow } from "./rows.js";
import { readPasswordLine } from "../users/new-password.js";
import { CliError, safe, toJson, writeLine } from "../terminal.js";

interface ContractOptions extends JsonOption {
  readonly user?: string;
  readonly passwordStdin?: boolean;
}

export function addContractCommand(program: Command, session: Session): void {
  describeCommand(
    program.command("contract <url> [url2]"),
    "Check the REST contract against a server, Latchkey or an old one; with two URLs, show where they differ.",
    "latchkey contract https://old.example https://new.example --user TestUser --password-stdin",
  )
    .option("--user <name>", "a user who may log in; without one, answers 200 are not checked")
    .option("--password-stdin", "read the user's password from standard input, one line")
    .action(async (url: string, url2: string | undefined, options: ContractOptions) => {
      await contract(session, [url, ...(url2 === undefined ? [] : [url2])].map(baseUrl), options);
    });
}

function baseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && /^https?:$/.test(url.protocol)) return url;
  throw new CliError("usage", "a URL starts with http:// or https://", 2);
}

interface Verdict {
  readonly name: string;
  readonly differences: readonly Difference[];
}

async function contract(session: Session, urls: URL[], options: ContractOptions): Promise<void> {
  const { terminal } = session;
  const { user: username, passwordStdin = false, json } = options;
  if ((username === undefined) === passwordStdin) {
    throw new CliError("usage", "--user and --password-stdin go together", 2);
  }
  const credentials =
    username === undefined
      ? undefined
      : { username, password: await readPasswordLine(terminal.stdin) };
  const known = [...rows, ...(credentials ? rowsOf(credentials) : [])];
  const verdicts: Verdict[] = [];
  const compare = async (row: ContractRow, ofSecond = row): Promise<readonly Answer[]> => {
    const answers = await Promise.all(urls.map((url, i) => send(url, i === 0 ? row : ofSecond)));
    const [first, second] = answers.map(aspectsOf) as [Aspects, Aspects?];
    const found = second ? differences(first, second) : differences(row.expected, first);
    verdicts.push({ name: row.name, differences: found });
    return answers;
  };

  let tokens: (string | undefined)[] = [];
  for (const row of known) {
    const answers = (await compare(row)).map(tokenOf);
    if (answers.every((token) => token !== undefined)) tokens = answers;
  }
  const [ofFirst, ofSecond] = tokens.map((token) =>
    token === undefined ? [] : rowsOfToken(token),
  );
  for (const [i, row] of (ofFirst ?? []).entries()) await compare(row, ofSecond?.[i]);

  if (verdicts.some((verdict) => verdict.differences.length > 0)) session.exitCode = 1;
  const labels = urls.length === 1 ? ["contract", "server"] : urls.map((url) => url.host);
  for (const line of json
    ? jsonLines(verdicts)
    : textLines(verdicts, labels as [string, string], credentials)) {
    await writeLine(terminal.stdout, line);
  }
}

function* jsonLines(verdicts: readonly Verdict[]): Generator<string> {
  for (const { name, differences } of verdicts) {
    yield toJson({
      row: name,
      agrees: differences.length === 0,
      differences: differences.map(({ aspect, expected = null, got = null }) => ({
        aspect,
        expected,
        got,
      })),
    });
  }
}

const cellCharactersMax = 120;

function* textLines(
  verdicts: readonly Verdict[],
  [first, second]: readonly [string, string],
  credentials: unknown,
): Generator<string> {
  const width = Math.max(first.length, second.length);
  const cell = (value: string | undefined) => {
    const text = safe(value ?? "(none)");
    return text.length > cellCharactersMax ? `${text.slice(0, cellCharactersMax)}…` : text;
  };
  for (const { name, differences } of verdicts) {
    yield `${differences.length === 0 ? "same   " : "DIFFERS"}  ${name}`;
    for (const { aspect, expected, got } of differences) {
      yield `           ${aspect}`;
      yield `             ${first.padEnd(width)}  ${cell(expected)}`;
      yield `             ${second.padEnd(width)}  ${cell(got)}`;
    }
  }
  const differing = verdicts.filter((verdict) => verdict.differences.length > 0).length;
  yield `${verdicts.length - differing} rows agree, ${differing} differ`;
  if (credentials === undefined) yield "not checked without --user: the answers 200";
  yield "never checked, because it would do harm: the answers 429, 500 and 503";
}

const answerMs = 10_000;
const answerBytesMax = 1_048_576;

/** @throws CliError if the server does not answer */
function send(base: URL, row: ContractRow): Promise<Answer> {
  const { path, method = "POST", headers = {}, body } = row;
  const url = new URL(base.pathname.replace(/\/$/, "") + path, base);
  const request = url.protocol === "https:" ? requestHttps : requestHttp;
  return new Promise((resolve, reject) => {
    const fail = (error: Error) =>
      reject(new CliError("no_answer", `${url.origin} does not answer: ${error.message}`));
    const signal = AbortSignal.timeout(answerMs);
    const req = request(url, { method, headers, agent: false, signal }, (res) => {
      let text = "";
      res.setEncoding("utf8");
      res.on("data", (chunk: string) => {
        text += chunk;
        if (text.length > answerBytesMax) req.destroy(new Error("the answer is too long"));
      });
      res.once("error", fail);
      res.once("end", () => {
        resolve({ status: res.statusCode ?? 0, headers: res.headers, body: text });
      });
    });
    req.once("error", fail);
    // Says explicitly that there is no body.
    if (body === undefined) req.setHeader("content-length", "0");
    req.end(body);
  });
}
