/**
 * Whether existing and unknown names can be told apart by the response time over HTTP: the area under the curve (0.5:
 * not at all, 1: always) over interleaved samples. First for the two kinds of users that differ most, with a wrong
 * password; then, for each kind of request, for existing and unknown names, by the best of several tries per name.
 *
 *   npm run bench:timing [-- SAMPLES [COLLECTION]]     (default: 300 of each, all collections)
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { main, run, start } from "./process.js";

const samples = Number(process.argv[2] ?? 300);
const only = process.argv[3];
const usersPerFamily = 20;
const triesPerName = 5;
const argon2 =
  "$argon2id$v=19$m=19456,t=2,p=1$P/wxjcj0dSBr3LFgjFEpdw$YItu6Y3q6Myva0A1PVhq3zfvZcWsTUPTjuP7hyWZm1Q";

const collections = {
  "argon2id only": { argon2id: argon2 },
  "bcrypt only": { bcrypt: "$2b$10$u20VBwsot1oJi.pHspQ2FeLqF6KpWrbwgDdwRbmVtkUpNQ3hq7Oz6" },
  mixed: {
    argon2id: argon2,
    bcrypt: "$2b$10$u20VBwsot1oJi.pHspQ2FeLqF6KpWrbwgDdwRbmVtkUpNQ3hq7Oz6",
    pbkdf2:
      "pbkdf2_sha256$100000$utFwuspS5BKQ5wiVW3cn56$HYqnf/5trZ6ANvx4GhZVZZw4FkceGTo1VYScZczAUfs=",
  },
  "every family": familyHashes(),
};

/** One hash of each family, as others made them, of those that need no format of one's own. */
function familyHashes() {
  const folder = new URL("../test/vectors/", import.meta.url);
  const vectors = readdirSync(folder)
    .filter((name) => /^hashes-.*\.json$/.test(name))
    .flatMap((name) => JSON.parse(readFileSync(new URL(name, folder), "utf8")))
    .filter(({ family, hash }) => hash && family !== "custom");
  return Object.fromEntries(vectors.map(({ family, hash }) => [family, hash]));
}

/** The share of pairs in which the value of `b` is greater; ties count half. */
function areaUnderCurve(a, b) {
  let greater = 0;
  for (const x of a) for (const y of b) greater += y > x ? 1 : y === x ? 0.5 : 0;
  const area = greater / (a.length * b.length);
  return Math.max(area, 1 - area);
}

/** The two classes that differ most. */
function mostDifferent(times) {
  const names = Object.keys(times);
  const pairs = names.flatMap((a, i) => names.slice(i + 1).map((b) => [a, b]));
  return pairs
    .map(([a, b]) => ({ area: areaUnderCurve(times[a], times[b]), a, b }))
    .sort((x, y) => y.area - x.area)[0];
}

/** The same times, assigned to the classes at random: the remaining difference is noise. */
function shuffled(times) {
  const all = Object.values(times)
    .flat()
    .map((value) => [Math.random(), value])
    .sort(([x], [y]) => x - y);
  const each = all.length / Object.keys(times).length;
  return Object.fromEntries(
    Object.keys(times).map((name, i) => [
      name,
      all.slice(i * each, (i + 1) * each).map(([, value]) => value),
    ]),
  );
}

const nameOf = (family) => family.replace(/\W+/g, "-");

function usersOf(hashes) {
  let id = 0;
  return Object.entries(hashes).flatMap(([family, passwordHash]) =>
    Array.from({ length: usersPerFamily }, (_, i) => [
      { _id: ++id, username: `${nameOf(family)}-${i}`, passwordHash },
      { _id: ++id, username: `${nameOf(family)}-disabled-${i}`, passwordHash, disabled: true },
    ]).flat(),
  );
}

/** Names by class. Each class has all hash families in the same proportion. */
function classesOf(hashes) {
  const families = Object.keys(hashes).map(nameOf);
  const names = (form) => (i) =>
    form(families[i % families.length], Math.floor(i / families.length));
  return {
    "wrong password": names((family, i) => `${family}-${i % usersPerFamily}`),
    disabled: names((family, i) => `${family}-disabled-${i % usersPerFamily}`),
    "no hash": (i) => `hashless-${i}`,
    unknown: (i) => `nobody-${i}`,
  };
}

/** The credentials of each kind of request. */
const forms = {
  plain: (name) => [name, "wrong"],
  NUL: (name) => [name, "wrong\0"],
  case: (name) => [name.toUpperCase(), "wrong"],
  width: (name) => [
    name.replace(/[!-~]/g, (c) => String.fromCodePoint(c.charCodeAt(0) + 0xfee0)),
    "wrong",
  ],
  "trailing space": (name) => [`${name} `, "wrong"],
  "1,024 bytes": (name) => [name, "x".repeat(1024)],
  "2,000 bytes": (name) => [name, "x".repeat(2000)],
  "no bytes": (name) => [name, ""],
};

/**
 * For each kind of request the area for existing and unknown names, and the area by chance: of the best of several
 * tries per name, and of how much that differs from a plain request for the same name.
 */
async function measureForms(login, classes) {
  const best = { existing: [], unknown: [] };
  for (let i = 0; i < Math.ceil(samples / triesPerName); i++) {
    const pair = [
      ["existing", classes["wrong password"](i)],
      ["unknown", classes.unknown(i)],
    ];
    if (i % 2 === 1) pair.reverse();
    for (const [kind, name] of pair) best[kind].push(await bestTimes(login, name));
  }
  const areaOf = (value) => {
    const times = Object.fromEntries(
      Object.entries(best).map(([kind, names]) => [kind, names.map(value)]),
    );
    return `${mostDifferent(times).area.toFixed(3)} (chance ${chanceOf(times)})`;
  };
  const lines = Object.keys(forms).map((form) => {
    const difference = ({ [form]: time, plain }) => Math.abs(Math.log(time / plain));
    const more = form === "plain" ? "" : `, against plain ${areaOf(difference)}`;
    return `${form} ${areaOf(({ [form]: time }) => time)}${more}`;
  });
  return lines.join("\n    ");
}

async function bestTimes(login, name) {
  const best = {};
  for (let i = 0; i < triesPerName; i++) {
    for (const [form, make] of Object.entries(forms)) {
      best[form] = Math.min(best[form] ?? Infinity, await login(...make(name)));
    }
  }
  return best;
}

const chanceOf = (times) =>
  Math.max(...Array.from({ length: 20 }, () => mostDifferent(shuffled(times)).area)).toFixed(3);

async function measure(label, hashes) {
  const folder = mkdtempSync(join(tmpdir(), "latchkey-timing-"));
  const env = {
    DATA_DIR: folder,
    THROTTLE_FAILURES: "0",
    REHASH: "off",
    AUDIT_LOG: "off",
  };
  const file = join(folder, "users.ndjson");
  // One name for each sample, because a name's decoy has a random family, and few names would not cover all evenly.
  const hashless = Array.from({ length: samples }, (_, i) => ({
    _id: `h${i}`,
    username: `hashless-${i}`,
  }));
  const lines = [...usersOf(hashes), ...hashless].map((user) => JSON.stringify(user));
  writeFileSync(file, lines.join("\n"));
  run(["users", "import", file], env);
  const server = await start([main, "serve"], env);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const login = (username, password = "wrong") =>
    new Promise((resolve, reject) => {
      const body = JSON.stringify({ username, password });
      const start = process.hrtime.bigint();
      const req = request(
        `${server.url}/api/v1/authentication/login`,
        { agent, method: "POST" },
        (res) => {
          res.resume().once("end", () => resolve(Number(process.hrtime.bigint() - start) / 1e6));
        },
      );
      req.once("error", reject).end(body);
    });

  const classes = classesOf(hashes);
  const times = Object.fromEntries(Object.keys(classes).map((name) => [name, []]));
  for (let i = 0; i < 20; i++) await login(`warm-${i}`);
  for (let i = 0; i < samples; i++) {
    // In another order each round, so that no class always follows the same one.
    for (const name of Object.keys(classes).sort(() => Math.random() - 0.5)) {
      times[name].push(await login(classes[name](i)));
    }
  }
  const byForm = await measureForms(login, classes);
  agent.destroy();
  await server.stop();
  rmSync(folder, { recursive: true });

  const names = Object.keys(classes);
  const { area, a, b } = mostDifferent(times);
  const median = (values) => [...values].sort((x, y) => x - y)[values.length >> 1].toFixed(1);
  const medians = names.map((name) => `${name} ${median(times[name])} ms`).join(", ");
  return `${label}: ${area.toFixed(3)} between "${a}" and "${b}" ; up to ${chanceOf(times)} by chance alone (medians: ${medians})
  existing against unknown names:
    ${byForm}`;
}

for (const [label, hashes] of Object.entries(collections)) {
  if (only !== undefined && only !== label) continue;
  process.stdout.write(`${await measure(label, hashes)}\n`);
}
