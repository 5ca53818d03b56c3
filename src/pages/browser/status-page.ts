/** Keeps the status page up to date without a reload. Runs in a browser; depends on nothing. */

const intervalMs = 5000;
const timeoutMs = 10_000;

const connection = document.getElementById("connection");
let answeredAt = new Date();

/** Fetches the page again, parsed by the browser. */
function readPage(): Promise<Document> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", "./");
    request.responseType = "document";
    request.timeout = timeoutMs;
    const fail = () => reject(new Error("no answer"));
    request.onload = () => {
      const page = request.responseXML;
      if (request.status === 200 && page !== null) resolve(page);
      else fail();
    };
    request.onerror = fail;
    request.ontimeout = fail;
    request.send();
  });
}

async function refresh(): Promise<void> {
  try {
    update(await readPage());
    answeredAt = new Date();
    say("");
  } catch {
    say(`No answer since ${answeredAt.toLocaleTimeString()}: the values below are old.`);
  }
}

function say(text: string): void {
  document.body.classList.toggle("stale", text !== "");
  if (connection !== null && connection.textContent !== text) connection.textContent = text;
}

/** Replaces the parts that have changed; the state in place, so that a screen reader announces it. */
function update(page: Document): void {
  document.title = page.title;
  for (const fresh of page.querySelectorAll("section[id], footer[id]")) {
    const shown = document.getElementById(fresh.id);
    if (shown === null || shown.outerHTML === fresh.outerHTML) continue;
    // A part that has the keyboard focus is not replaced.
    if (shown.contains(document.activeElement)) continue;
    shown.className = fresh.className;
    shown.replaceChildren(...fresh.childNodes);
  }
}

async function run(): Promise<never> {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
    if (document.visibilityState === "visible") await refresh();
  }
}
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") void refresh();
});
void run();
