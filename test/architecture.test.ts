/** Holds the arrows of the architecture: which part of the source may import which. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";

const root = fileURLToPath(new URL("../", import.meta.url));

/** What each part may import beside itself: other parts, and packages. */
const parts: Readonly<Record<string, { parts: readonly string[]; packages: readonly string[] }>> = {
  "src/auth": { parts: [], packages: ["jose", "@node-rs/argon2", "@node-rs/bcrypt"] },
  "src/config": { parts: ["src/auth"], packages: ["@latchkey-auth/latchkey"] },
  "src/revocations": { parts: ["src/auth"], packages: [] },
  "src/contract": { parts: [], packages: [] },
  "src/takeover": {
    parts: ["src/auth", "src/contract", "src/server"],
    packages: ["cockatiel", "undici"],
  },
  "src/store": {
    parts: ["src/auth", "src/config", "src/revocations", "src/takeover"],
    packages: ["lmdb", "mongodb"],
  },
  "src/server": { parts: ["src/auth"], packages: [] },
  "src/gateway": { parts: ["src/auth", "src/server"], packages: [] },
  "src/rpc": {
    parts: ["src/auth", "src/server", "gen"],
    packages: ["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-node"],
  },
  "src/observability": {
    parts: ["src/auth", "src/server", "src/store", "src/takeover"],
    packages: [
      "pino",
      "prom-client",
      "@opentelemetry/api",
      "@opentelemetry/exporter-trace-otlp-proto",
      "@opentelemetry/resources",
      "@opentelemetry/sdk-trace-base",
    ],
  },
  "src/pages": {
    parts: ["src/auth", "src/config", "src/gateway", "src/observability", "src/rpc", "src/server"],
    packages: ["yaml"],
  },
  "src/app": {
    parts: [
      "src/auth",
      "src/config",
      "src/gateway",
      "src/observability",
      "src/pages",
      "src/revocations",
      "src/rpc",
      "src/server",
      "src/store",
      "src/takeover",
    ],
    packages: [],
  },
  "src/cli": {
    parts: [
      "src/app",
      "src/auth",
      "src/config",
      "src/contract",
      "src/observability",
      "src/store",
      "src/takeover",
    ],
    packages: ["@zxcvbn-ts/language-common", "commander"],
  },
  "src/kit/client": { parts: [], packages: ["@connectrpc/connect"] },
  "src/kit/verify": { parts: [], packages: ["@connectrpc/connect", "jose"] },
  "src/kit/testing": {
    parts: ["src/app", "src/auth", "src/config", "src/observability", "src/store"],
    packages: [],
  },
  "src/main.ts": { parts: ["src/cli"], packages: [] },
};

/** Packages that a single file of its part may import. */
const keptTo: Readonly<Record<string, RegExp>> = {
  mongodb: /^src\/store\/mongo\//,
  "@zxcvbn-ts/language-common": /^src\/cli\/users\/common-passwords\.ts$/,
  "prom-client": /^src\/observability\/metrics\.ts$/,
  ...Object.fromEntries(
    ["api", "exporter-trace-otlp-proto", "resources", "sdk-trace-base"].map((name) => [
      `@opentelemetry/${name}`,
      /^src\/observability\/tracing\.ts$/,
    ]),
  ),
  lmdb: /^src\/store\/embedded\//,
  cockatiel: /^src\/takeover\/(upstream|questions)\.ts$/,
  undici: /^src\/takeover\/upstream\.ts$/,
};

const files = readdirSync(join(root, "src"), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map(({ parentPath, name }) => relative(root, join(parentPath, name)));

test("the source is TypeScript and nothing else", () => {
  expect(files.filter((file) => !file.endsWith(".ts"))).toEqual([]);
});

function partOf(file: string): string | undefined {
  return [...Object.keys(parts), "gen"].find(
    (part) => file === part || file.startsWith(`${part}/`),
  );
}

function importsOf(file: string): string[] {
  const source = readFileSync(join(root, file), "utf8");
  const specifiers =
    /^(?:import|export)\b[^;"]*from "([^"]+)"|\bimport\("([^"]+)"\)|createRequire\([^)]*\)\("([^"]+)"\)/gm;
  return [...source.matchAll(specifiers)].map(
    ([, ...found]) => found.find((specifier) => specifier) ?? "",
  );
}

function packageOf(specifier: string): string {
  const [scopeOrName = "", name] = specifier.split("/");
  return scopeOrName.startsWith("@") ? `${scopeOrName}/${name}` : scopeOrName;
}

const sourceOf = (file: string, specifier: string) =>
  relative(root, normalize(join(root, dirname(file), specifier))).replace(/\.js$/, ".ts");

const sourcesOf = (file: string) =>
  importsOf(file)
    .filter((specifier) => specifier.startsWith("."))
    .map((specifier) => sourceOf(file, specifier));

test.each(files)("%s keeps to its arrows", (file) => {
  const part = partOf(file);
  expect(part).toBeDefined();
  const allowed = parts[part ?? ""] ?? { parts: [], packages: [] };
  for (const specifier of importsOf(file)) {
    if (specifier.startsWith("node:")) continue;
    if (specifier.startsWith(".")) {
      expect([part, ...allowed.parts]).toContain(partOf(sourceOf(file, specifier)));
    } else {
      const packageName = packageOf(specifier);
      expect(allowed.packages).toContain(packageName);
      expect(file).toMatch(keptTo[packageName] ?? /./);
    }
  }
});

/** The façades of a folder: the only files of it that others import. */
const facades: Readonly<Record<string, readonly string[]>> = {
  "src/auth/gate": ["gate.ts"],
  "src/auth/keys": ["keys.ts"],
  "src/auth/passwords": [
    "passwords.ts",
    "format.ts",
    "encodings.ts",
    "rehash.ts",
    "census.ts",
    "decoy-census.ts",
  ],
  "src/auth/throttle": ["throttle.ts"],
  "src/rpc": ["handler.ts"],
  "src/store/embedded": ["embedded-store.ts"],
  "src/store/mongo": ["mongo-store.ts"],
};

test.each(Object.entries(facades))("%s is imported only through %j", (room, doors) => {
  const outside = files.filter((file) => !file.startsWith(`${room}/`));
  const passedBy = outside.flatMap((file) =>
    sourcesOf(file)
      .filter(
        (source) => source.startsWith(`${room}/`) && !doors.includes(source.slice(room.length + 1)),
      )
      .map((source) => `${file} -> ${source}`),
  );
  expect(passedBy).toEqual([]);
});

/** The name of a scope's packages in the "Depends on" sentence of a module's head. */
const knownAs: Readonly<Record<string, string>> = {
  "@bufbuild": "Connect",
  "@connectrpc": "Connect",
  "@opentelemetry": "OpenTelemetry",
};

function dependsLine(file: string): string | undefined {
  const [head = ""] = /\/\*\*[\s\S]*?\*\//.exec(readFileSync(join(root, file), "utf8")) ?? [];
  const words = head.replace(/\s*\n \*\s*/g, " ");
  return /Depends on (.*?)\.(?=\s|$)/.exec(words)?.[1];
}

test.each(files.filter((file) => dependsLine(file)))(
  'the "Depends on" sentence of %s is true',
  (file) => {
    const line = dependsLine(file) ?? "";
    const imports = importsOf(file);
    if (line === "nothing") expect(imports).toEqual([]);
    const others = imports.filter((specifier) => !specifier.startsWith("node:"));
    if (line === "node only") expect(others).toEqual([]);
    const packages = others.filter((specifier) => !specifier.startsWith(".")).map(packageOf);
    for (const name of packages) {
      expect(line).toContain(knownAs[name.split("/")[0] ?? ""] ?? name);
    }
  },
);

test("no circle of files", () => {
  const edges = new Map(files.map((file) => [file, sourcesOf(file)]));
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file))
      throw new Error([...path.slice(path.indexOf(file)), file].join(" -> "));
    if (done.has(file)) return;
    for (const target of edges.get(file) ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
});

test("the pages are loaded by their first request: nothing imports them at the start", () => {
  const outside = files.filter((file) => !file.startsWith("src/pages/"));
  const early = outside.filter((file) =>
    /^(?:import|export) (?!type )[^;]*from "[^"]*\/pages\/[^"]+"/m.test(
      readFileSync(join(root, file), "utf8"),
    ),
  );
  expect(early).toEqual([]);
});

test("the client and the verifier run in a browser: they import nothing of Node's", () => {
  const ours = files.filter((file) => /^src\/kit\/(client|verify)\//.test(file));
  const builtins = ours.flatMap((file) => importsOf(file).filter((name) => /^node:/.test(name)));
  expect(builtins).toEqual([]);
});

test("only main.ts touches the process", () => {
  const touching = files.filter((file) =>
    /\bprocess\.\w/.test(readFileSync(join(root, file), "utf8")),
  );
  expect(touching).toEqual(["src/main.ts"]);
});

test("only the gate checks passwords", () => {
  const users = files.filter((file) =>
    /\bverifyPassword\b/.test(readFileSync(join(root, file), "utf8")),
  );
  expect(users.sort()).toEqual(["src/auth/gate/gate.ts", "src/auth/passwords/passwords.ts"]);
});
