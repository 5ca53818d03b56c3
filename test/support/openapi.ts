/** Checks an answer against the OpenAPI document that describes it. */
import { Ajv2020 } from "ajv/dist/2020.js";
import type { IncomingHttpHeaders } from "node:http";

interface MediaType {
  readonly schema: object;
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>;
}

interface ResponseObject {
  readonly description: string;
  readonly headers?: Readonly<Record<string, { readonly $ref: string }>>;
  readonly content?: Readonly<Record<string, MediaType>>;
}

export interface OpenApi {
  readonly openapi: string;
  readonly paths: Readonly<
    Record<
      string,
      Readonly<Record<string, { responses: Readonly<Record<string, ResponseObject>> }>>
    >
  >;
  readonly components: {
    readonly headers: Readonly<Record<string, { required?: boolean; schema: object }>>;
    readonly schemas: Readonly<Record<string, object>>;
  };
}

export interface ServedAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Headers of the connection and the representation, which OpenAPI does not describe. */
const ofHttp =
  /^(connection|keep-alive|date|transfer-encoding|content-(type|length)|vary|access-control-.*|server)$/;

export function createAnswerCheck(document: OpenApi) {
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.addSchema(document, "openapi");
  const matches = (pointer: string, value: unknown) => {
    const isValid = ajv.validate({ $ref: `openapi#${pointer}` }, value);
    return isValid ? [] : [ajv.errorsText()];
  };
  const escape = (part: string) => part.replaceAll("~", "~0").replaceAll("/", "~1");

  /** The differences from the document; empty if there are none. */
  return function faultsOf(path: string, { status, headers, body }: ServedAnswer): string[] {
    const [[method, operation] = []] = Object.entries(document.paths[path] ?? {});
    const response = operation?.responses[status];
    if (method === undefined || response === undefined) return [`${path} has no ${status}`];
    const at = `/paths/${escape(path)}/${method}/responses/${status}`;
    const [[type, content] = []] = Object.entries(response.content ?? {});
    const sent = headers["content-type"]?.split(";", 1)[0];
    const faults: string[] = [];
    if (body === "" ? content !== undefined && method !== "get" : type !== sent) {
      faults.push(`content-type is ${sent ?? "absent"}, not ${type ?? "absent"}`);
    } else if (body !== "" && type !== undefined) {
      const value: unknown = type.endsWith("json") ? JSON.parse(body) : body;
      faults.push(...matches(`${at}/content/${escape(type)}/schema`, value));
    }
    const known = Object.keys(response.headers ?? {});
    const names = Object.keys(headers).filter((name) => !ofHttp.test(name));
    const undocumented = names.filter((name) => !known.some((each) => each.toLowerCase() === name));
    faults.push(...undocumented.map((name) => `the header ${name} is not documented`));
    for (const name of known) {
      const { required, schema } = document.components.headers[name] ?? { schema: {} };
      const value = headers[name.toLowerCase()];
      if (value === undefined) faults.push(...(required ? [`no ${name}`] : []));
      else {
        const isNumber = (schema as { type: string }).type === "integer";
        faults.push(
          ...matches(`/components/headers/${name}/schema`, isNumber ? Number(value) : value),
        );
      }
    }
    return faults;
  };
}
