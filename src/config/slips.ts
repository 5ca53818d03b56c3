/**
 * Finds variables of the environment that are not Latchkey's but may have been meant for it: misspelt names,
 * and settings by which other programs find their MongoDB. Depends on nothing.
 */

export type Environment = Readonly<Record<string, string | undefined>>;

const nameCharactersMin = 5;
const editsMax = 2;

/** One sentence for each variable whose name is close to one of `names`. */
export function misspeltNames(env: Environment, names: readonly string[]): string[] {
  return Object.keys(env).flatMap((name) => {
    if (!env[name] || names.includes(name)) return [];
    const near = nearestOf(name, names);
    return near === undefined
      ? []
      : [`${name} is not a variable of Latchkey; did you mean ${near}?`];
  });
}

/** The name that was probably meant, or undefined if none is close. */
function nearestOf(name: string, names: readonly string[]): string | undefined {
  const written = name.toUpperCase();
  const twin = names.find((ours) => ours === `${written}_FILE` || `${ours}_FILE` === written);
  if (twin !== undefined) return twin;
  const long = names.filter((ours) => ours.length >= nameCharactersMin);
  for (let edits = 0; edits <= editsMax; edits++) {
    const near = long.find((ours) => isNear(written, ours, edits));
    if (near !== undefined) return near;
  }
  return undefined;
}

/** Whether the Levenshtein distance of two texts is `edits` or less. */
export function isNear(a: string, b: string, edits: number): boolean {
  if (Math.abs(a.length - b.length) > edits) return false;
  let same = 0;
  while (same < a.length && a[same] === b[same]) same++;
  if (same === a.length || same === b.length) return true;
  if (edits === 0) return false;
  const [restA, restB] = [a.slice(same + 1), b.slice(same + 1)];
  return (
    isNear(restA, restB, edits - 1) ||
    isNear(restA, b.slice(same), edits - 1) ||
    isNear(a.slice(same), restB, edits - 1)
  );
}

/** Kubernetes and Docker links set these for each service of the namespace, used or not. */
const serviceForm =
  /_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$/;
/** Variables that say where MongoDB's own programs are installed. */
const installationForm = /_(HOME|PATH|BIN|DIR|VERSION|MAJOR)$/;
const mongoWord = /(^|_)MONGO(DB|HQ|LAB|CLOUD)?(_|$)/;
const mongoUri = /^\s*mongodb(\+srv)?:\/\//i;

/**
 * The variables that point to a MongoDB, except those named in `ours`: `settings` were set by somebody,
 * `services` by the cluster itself, which does not mean that Latchkey is to use that MongoDB.
 */
export function mongoSettings(
  env: Environment,
  ours: readonly string[],
): { settings: string[]; services: string[] } {
  const set = Object.keys(env).filter((name) => env[name] && !ours.includes(name));
  const named = set.filter((name) => mongoWord.test(name.toUpperCase()));
  const services = named.filter((name) => serviceForm.test(name));
  const settings = set.filter(
    (name) =>
      mongoUri.test(env[name] ?? "") ||
      (named.includes(name) && !services.includes(name) && !installationForm.test(name)),
  );
  return { settings, services: services.filter((name) => !settings.includes(name)) };
}
