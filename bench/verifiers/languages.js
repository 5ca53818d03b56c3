/** How the verifiers of each language are installed and started, and how their clock is changed. */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const here = import.meta.dirname;
const cache = resolve(here, "../../.cache/verifiers");
const inCache = (...names) => join(cache, ...names);
const venv = inCache("python");
const run = (command, ...args) =>
  execFileSync(command, args, { cwd: here, stdio: ["ignore", "ignore", "inherit"] });

/** The names of the libraries, read from a program's own table. */
const namesIn = (file, pattern) =>
  [...readFileSync(join(here, file), "utf8").matchAll(pattern)].map(([, name]) => name);

function installPython() {
  if (existsSync(inCache("python", "installed"))) return;
  run("python3", "-m", "venv", "--clear", venv);
  run(join(venv, "bin/pip"), "install", "--quiet", "--requirement", "requirements.txt");
  writeFileSync(inCache("python", "installed"), "");
}

/** libfaketime, which changes the clock of a process; built by pip. */
function fakeTimeLibrary() {
  const script = "import libfaketime, os; print(os.path.dirname(libfaketime.__file__))";
  const folder = execFileSync(join(venv, "bin/python"), ["-c", script], {
    encoding: "utf8",
  }).trim();
  return join(folder, "vendor/libfaketime/src/libfaketime.so.1");
}

/** Sends a line and resolves with its answer. */
function talkTo(child, timeOf = () => undefined) {
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (line) => {
    child.stdin.write(`${line}\n`);
    const { value, done } = await lines.next();
    if (done) throw new Error("the verifier ended");
    return value;
  };
  return {
    verify: ask,
    async pass(seconds, sinceStart) {
      timeOf(sinceStart);
      await ask(`+${seconds}`);
    },
    stop: () => child.kill("SIGKILL"),
  };
}

function startProgram(command, args, latchkey, env = {}) {
  const { PATH, HOME } = process.env;
  const addresses = { ISSUER: latchkey.issuer, JWKS_URL: latchkey.jwksUrl };
  const stdio = ["pipe", "pipe", "ignore"];
  return spawn(command, args, { cwd: here, env: { PATH, HOME, ...addresses, ...env }, stdio });
}

/** A program whose clock is set by a file, which libfaketime reads at every call. */
function startFaked(command, args, latchkey) {
  const file = inCache(`time-${process.pid}`);
  writeFileSync(file, "+0");
  const env = {
    LD_PRELOAD: fakeTimeLibrary(),
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: "1",
  };
  const child = startProgram(command, args, latchkey, env);
  return talkTo(child, (sinceStart) => writeFileSync(file, `+${sinceStart}`));
}

const needsRfc9068 = (name) => (name.startsWith("oauth4webapi") ? { TOKEN_TYPE: "at+jwt" } : {});

mkdirSync(cache, { recursive: true });

export const languages = [
  {
    name: "Node.js",
    libraries: namesIn("verifier.js", /^ {2}"?([\w -.]+?)"?: (?:\(\) =>|openidClient)/gm),
    env: needsRfc9068,
    prepare() {
      installPython();
      run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund");
    },
    start: (name, latchkey) => startFaked(process.execPath, ["verifier.js", name], latchkey),
  },
  {
    name: "Python",
    libraries: namesIn("verifier.py", /^ {4}"([^"]+)": /gm),
    prepare: installPython,
    start: (name, latchkey) =>
      startFaked(join(venv, "bin/python"), ["verifier.py", name], latchkey),
  },
  {
    name: "Go",
    libraries: namesIn("verifier_test.go", /^\tcase "([^"]+)":/gm),
    prepare: () => run("go", "test", "-c", "-o", inCache("verifier.test"), "."),
    start(name, latchkey) {
      // The bubble's clock stands still between two lines, so it starts ahead of ours.
      const startSeconds = Math.floor(Date.now() / 1000) + 120;
      const env = { LIBRARY: name, START_SECONDS: String(startSeconds) };
      return talkTo(startProgram(inCache("verifier.test"), [], latchkey, env));
    },
  },
  {
    name: "Java",
    libraries: namesIn("Verifier.java", /^ {6}case "([^"]+)" ->/gm),
    prepare() {
      installPython();
      const repository = `-Dmaven.repo.local=${resolve(cache, "m2")}`;
      const classpath = `-Dmdep.outputFile=${inCache("classpath")}`;
      run("mvn", "--quiet", "--batch-mode", repository, "dependency:build-classpath", classpath);
      const jars = readFileSync(inCache("classpath"), "utf8");
      run("javac", "-nowarn", "-classpath", jars, "-d", inCache("java"), "Verifier.java");
    },
    start(name, latchkey) {
      const jars = readFileSync(inCache("classpath"), "utf8");
      const args = ["-classpath", `${jars}:${inCache("java")}`, "Verifier", name];
      return startFaked("java", args, latchkey);
    },
  },
];
