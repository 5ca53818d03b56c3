/** The files of a page as documents with an ETag, and its security headers. Depends on gateway's types. */
import { createHash } from "node:crypto";
import type { Document } from "../gateway/documents.js";
import type { Html } from "./html.js";

export function asset(type: string, body: string): Document {
  const etag = `"${createHash("sha256").update(body).digest("base64url")}"`;
  return { body, etag, type, caching: "no-cache", headers: guards };
}

export const page = (content: Html): Document =>
  asset("text/html;charset=UTF-8", `<!doctype html>\n${content.text}`);
export const stylesheet = (body: string): Document => asset("text/css;charset=UTF-8", body);
export const script = (body: string): Document => asset("text/javascript;charset=UTF-8", body);

const policy = [
  "default-src 'none'",
  ...["script-src", "style-src", "img-src", "connect-src"].map((name) => `${name} 'self'`),
  ...["base-uri", "form-action", "frame-ancestors"].map((name) => `${name} 'none'`),
  "require-trusted-types-for 'script'",
];

const guards = {
  "content-security-policy": policy.join("; "),
  "cross-origin-opener-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

/** The icon of the tab: a key. */
export const icon: Document = asset(
  "image/svg+xml",
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#0b6e5f"/><g fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round"><circle cx="11.5" cy="16" r="4.5"/><path d="M16 16h9.5M22 16v4"/></g></svg>',
);
