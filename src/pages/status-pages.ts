/** The pages of the management port. Depends on its neighbours. */
import type { Document } from "../gateway/documents.js";
import { icon, page, script, stylesheet } from "./assets.js";
import { readScript } from "./browser-scripts.js";
import { renderStatusPage } from "./status-page.js";
import { statusStyle } from "./status-style.js";
import type { Status } from "./status.js";

/** Returns the document of a path, or undefined. */
export async function statusDocument(
  path: string,
  read: () => Promise<Status>,
): Promise<Document | undefined> {
  switch (path) {
    case "/":
      return page(renderStatusPage(await read()));
    case "/page/status.css":
      return stylesheet(statusStyle);
    case "/page/icon.svg":
      return icon;
    case "/page/status-page.js":
      return script(await readScript("status-page"));
    default:
      return undefined;
  }
}
