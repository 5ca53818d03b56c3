/** Packages from PyPI, each installed once into `.cache/`. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join, resolve } from "node:path";

const cache = resolve(import.meta.dirname, "../../.cache");

/** Takes a lock that ends with its holder, so that only one of racing suites installs. */
const install = `
import fcntl, os, subprocess, sys
folder, requirement = sys.argv[1:]
with open(folder + ".lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not os.path.exists(folder + "/installed"):
        subprocess.check_call([sys.executable, "-m", "venv", "--clear", folder])
        subprocess.check_call([folder + "/bin/pip", "install", "--quiet", requirement])
        open(folder + "/installed", "w").close()
`;

/**
 * The folder of the package's executables, including `python`; undefined if it cannot be installed.
 */
export function pythonPackage(name: string, version: string): string | undefined {
  const folder = join(cache, `${name.toLowerCase()}-${version}`);
  if (!existsSync(join(folder, "installed"))) {
    mkdirSync(cache, { recursive: true });
    const argv = ["-c", install, folder, `${name}==${version}`];
    const { status } = spawnSync("python3", argv, { stdio: ["ignore", "ignore", "inherit"] });
    if (status !== 0) return undefined;
  }
  return join(folder, "bin");
}
