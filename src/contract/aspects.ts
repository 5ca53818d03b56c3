/**
 * The parts of an answer that the contract of the two REST paths fixes. Answers are compared by
 * this one table. Depends on nothing.
 */

/**
 * The parts of an answer by name. Values that differ from call to call are replaced by their form.
 */
export type Aspects = Readonly<Record<string, string | undefined>>;

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

const jwtForm = /eyJ[\w-]+\.[\w-]+\.[\w-]*/;
const tokenExpForm =
  /"token_exp":"((?:January|February|March|April|May|June|July|August|September|October|November|December), \d\d \d{4} \d\d:\d\d:\d\d)"/;

/** The token in an answer, if there is one. */
export const tokenOf = ({ body }: Answer): string | undefined => jwtForm.exec(body)?.[0];

/** Takes an answer apart into the aspects that the contract fixes. */
export function aspectsOf(answer: Answer): Aspects {
  const { status, headers, body } = answer;
  const header = (name: string) => {
    const value = headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
  };
  const jwt = tokenOf(answer);
  return {
    status: String(status),
    "content-type": header("content-type"),
    "cache-control": header("cache-control"),
    "x-request-id": header("x-request-id") === undefined ? undefined : "present",
    allow: header("allow"),
    // Compared only for an empty body; otherwise it follows from the body.
    "content-length": body === "" ? header("content-length") : undefined,
    ...(status === 200 && jwt !== undefined && tokenAspects(jwt, body)),
    body: body
      .replace(jwtForm, "<jwt>")
      .replace(
        /"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"/,
        '"timestamp":"<timestamp>"',
      )
      .replace(/expires in \d+ minutes/, "expires in <n> minutes")
      .replace(tokenExpForm, '"token_exp":"<token_exp>"'),
  };
}

const quarterOfAnHourMs = 900_000;
const zoneMsMax = 14 * 3_600_000;

function tokenAspects(jwt: string, body: string): Aspects {
  const [header = {}, claims = {}] = jwt.split(".").slice(0, 2).map(decode);
  const { typ, alg } = header;
  const { exp, iat } = claims as { exp?: number; iat?: number };
  const minutes = /expires in (\d+) minutes/.exec(body)?.[1];
  const shown = tokenExpForm.exec(body)?.[1];
  const lifetimeMinutes = Math.floor(((exp ?? NaN) - (iat ?? NaN)) / 60);
  const offsetMs = Date.parse(`${shown?.replace(",", "") ?? ""} UTC`) - (exp ?? NaN) * 1000;
  const isExp = offsetMs % quarterOfAnHourMs === 0 && Math.abs(offsetMs) <= zoneMsMax;
  return {
    "token header": `${Object.keys(header).join(",")}: ${String(typ)} ${String(alg)}`,
    "token claims": Object.keys(claims).slice(0, 4).join(","),
    ...(minutes !== undefined && {
      "minutes of the message":
        Number(minutes) === lifetimeMinutes
          ? "those of the token"
          : `${minutes}, not ${lifetimeMinutes}`,
    }),
    ...(shown !== undefined && {
      token_exp: isExp
        ? "the token's exp in some time zone"
        : "another instant than the token's exp",
    }),
  };
}

/** What a token claims about its user and itself; not verified. */
export function claimsOf(jwt: string): Aspects {
  const { sub, iss, exp, iat } = decode(jwt.split(".")[1] ?? "");
  return {
    "claim sub": String(sub),
    "claim iss": String(iss),
    "claim lifetime": String(Number(exp) - Number(iat)),
  };
}

function decode(part: string): Record<string, unknown> {
  try {
    return JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>;
  } catch {
    return {};
  }
}

export interface Difference {
  readonly aspect: string;
  readonly expected: string | undefined;
  readonly got: string | undefined;
}

/** The aspects in which two answers, or an answer and the contract, differ. */
export function differences(expected: Aspects, got: Aspects): Difference[] {
  const aspects = new Set([...Object.keys(expected), ...Object.keys(got)]);
  return [...aspects].flatMap((aspect) =>
    expected[aspect] === got[aspect]
      ? []
      : [{ aspect, expected: expected[aspect], got: got[aspect] }],
  );
}
