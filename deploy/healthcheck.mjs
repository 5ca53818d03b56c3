/** The container's health check: whether the management port says that the process is alive. */
const port = process.env.MANAGEMENT_PORT || "9090";
const { ok } = await fetch(`http://127.0.0.1:${port}/livez`).catch(() => ({ ok: false }));
process.exit(ok ? 0 : 1);
