/** The alarms and the dashboard, by the word of promtool and of a Prometheus that scrapes a busy server. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { request } from "node:https";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { parse } from "yaml";
import { makeCertificate, type Certificate } from "../support/certificates.js";
import { basic } from "../support/http.js";
import { freePort } from "../support/mongo.js";
import { eventually } from "../support/server-process.js";
import { startService, type RunningService } from "../support/service.js";
import { describeWith, rootDir, run } from "../support/toolchain.js";

const alertsFile = join(rootDir, "deploy/prometheus/alerts.yaml");
const testsFile = join(rootDir, "test/prometheus/alerts.test.yaml");

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly annotations: Readonly<Record<"summary" | "description" | "runbook", string>>;
}
interface Rules {
  readonly groups: readonly { readonly rules: readonly Rule[] }[];
}
interface RuleTests {
  readonly tests: readonly {
    readonly alert_rule_test: readonly { alertname: string; exp_alerts: readonly object[] }[];
  }[];
}
const read = (file: string): unknown => parse(readFileSync(file, "utf8"));
const rules = (read(alertsFile) as Rules).groups.flatMap((group) => group.rules);

interface Panel {
  readonly type: string;
  readonly title: string;
  readonly targets?: readonly { readonly expr: string }[];
}
const dashboard = JSON.parse(
  readFileSync(join(rootDir, "deploy/grafana/latchkey.json"), "utf8"),
) as { readonly panels: readonly Panel[] };
interface Series {
  readonly value: readonly [time: number, value: string];
}
const queries = dashboard.panels.flatMap(({ title, targets = [] }) =>
  targets.map(({ expr }) => [title, expr] as const),
);

test.each(rules.map((rule) => [rule.alert, rule] as const))(
  "%s says what to do, and leads to a paragraph that exists",
  (_, { annotations }) => {
    const [file = "", anchor = ""] = annotations.runbook.split("#");
    const headings = [...readFileSync(join(rootDir, file), "utf8").matchAll(/^#+ (.+)$/gm)];
    const anchors = headings.map(([, heading = ""]) =>
      heading
        .toLowerCase()
        .replace(/[^\w -]/g, "")
        .replaceAll(" ", "-"),
    );
    expect(anchors).toContain(anchor);
    expect(annotations.description).toMatch(/\.$/);
  },
);

test("every alarm is tested: what sets it off, and what does not", () => {
  const tested = (read(testsFile) as RuleTests).tests.flatMap((each) => each.alert_rule_test);
  for (const { alert } of rules) {
    const own = tested.filter(({ alertname }) => alertname === alert);
    expect([alert, ...own.map(({ exp_alerts }) => exp_alerts.length).sort()]).toEqual([
      alert,
      0,
      1,
    ]);
  }
});

await describeWith({ promtool: ["--version"] }, "promtool", () => {
  test("takes the alarms, and their tests pass", async () => {
    await run("promtool", ["check", "rules", "--lint=all", "--lint-fatal", alertsFile]);
    await run("promtool", ["test", "rules", testsFile]);
  });
});

await describeWith({ prometheus: ["--version"] }, "Prometheus", () => {
  let service: RunningService;
  let prometheus: ChildProcess;
  let folder: string;
  let api: string;
  let traffic: NodeJS.Timeout;
  let certificate: Certificate;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "latchkey-prometheus-"));
    const { cert, key } = (certificate = makeCertificate("localhost"));
    const [certFile, keyFile] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    writeFileSync(certFile, cert);
    writeFileSync(keyFile, key, { mode: 0o600 });
    // With everything on that has metrics of its own. Nobody listens there: the breaker has its say.
    service = await startService({
      ...{ TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile },
      ...{ UPSTREAM_URL: `http://127.0.0.1:${await freePort()}`, UPSTREAM_LEAD: "100" },
    });
    const port = await freePort();
    api = `http://127.0.0.1:${port}/api/v1`;
    const configFile = join(folder, "prometheus.yaml");
    writeFileSync(
      configFile,
      `global: { scrape_interval: 500ms }
rule_files: [${alertsFile}]
scrape_configs:
  - job_name: latchkey
    static_configs: [{ targets: ["${new URL(service.managementUrl).host}"] }]
`,
    );
    const args = [`--config.file=${configFile}`, `--storage.tsdb.path=${join(folder, "data")}`];
    prometheus = spawn("prometheus", [...args, `--web.listen-address=127.0.0.1:${port}`], {
      stdio: "ignore",
    });
    traffic = setInterval(logIn, 200);
  }, 60_000);
  afterAll(async () => {
    clearInterval(traffic);
    prometheus.kill();
    await once(prometheus, "exit");
    await service.close();
    rmSync(folder, { recursive: true });
  });

  function logIn(): void {
    const url = new URL("/api/auth/token", service.url);
    const headers = { authorization: basic("TestUser", "password") };
    const options = { method: "POST", headers, ca: certificate.cert, servername: "localhost" };
    request(url, options, (answer) => answer.resume())
      .on("error", () => undefined)
      .end();
  }

  /** The number of series with a value. */
  async function resultsOf(expr: string): Promise<number> {
    const query = expr.replaceAll("$__rate_interval", "10s").replaceAll("$instance", ".*");
    const answer = await fetch(`${api}/query?query=${encodeURIComponent(query)}`).catch(
      () => undefined,
    );
    if (!answer?.ok) return -1;
    const { data } = (await answer.json()) as { data: { result: readonly Series[] } };
    return data.result.filter(({ value: [, value] }) => value !== "NaN").length;
  }

  test("has data for every query of the dashboard", async () => {
    for (const [title, expr] of queries) {
      await eventually(
        async () => ({ title, results: await resultsOf(expr) }),
        ({ results }) => results > 0,
        30_000,
      );
    }
    expect(queries.length).toBeGreaterThan(20);
    const empty = dashboard.panels.filter(({ type, targets }) => type !== "row" && !targets);
    expect(empty).toEqual([]);
  }, 120_000);

  test("has every metric that the alarms use", async () => {
    const names = rules.flatMap(({ expr }) => expr.match(/latchkey_\w+/g) ?? []);
    for (const name of new Set(names)) {
      expect([name, await resultsOf(name)]).not.toEqual([name, 0]);
    }
  });
});
