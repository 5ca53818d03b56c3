/**
 * HTTP clients of other languages, each as a program: a JSON array of calls on standard input (`method`, `url`,
 * `headers`, `body` in base64), a JSON array of their statuses on standard output.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";

export interface Program {
  /** What tells its version, to see whether it is there. */
  readonly probe: readonly string[];
  readonly command: string;
  readonly args: readonly string[];
}

const python = `
import base64, http.client, json, sys
from urllib.parse import urlsplit
statuses = []
for call in json.load(sys.stdin):
    url = urlsplit(call["url"])
    connection = http.client.HTTPConnection(url.netloc, timeout=20)
    connection.request(call["method"], url.path, base64.b64decode(call["body"]), call["headers"])
    statuses.append(connection.getresponse().status)
print(json.dumps(statuses))
`;

const perl = `
use HTTP::Tiny; use JSON::PP; use MIME::Base64;
local $/; my @statuses;
for my $call (@{decode_json(<STDIN>)}) {
  my %options = (headers => $call->{headers}, content => decode_base64($call->{body}));
  push @statuses, 0 + HTTP::Tiny->new->request($call->{method}, $call->{url}, \\%options)->{status};
}
print encode_json(\\@statuses);
`;

const ruby = `
require "json"; require "net/http"; require "base64"
puts JSON.generate(JSON.parse($stdin.read).map { |call|
  uri = URI(call["url"])
  body = Base64.decode64(call["body"])
  request = Net::HTTPGenericRequest.new(call["method"], !body.empty?, true, uri.path, call["headers"])
  request.body = body unless body.empty?
  Net::HTTP.start(uri.host, uri.port) { |http| http.request(request).code.to_i }
})
`;

const php = `
$statuses = [];
foreach (json_decode(stream_get_contents(STDIN), true) as $call) {
  $headers = [];
  foreach ($call["headers"] as $name => $value) $headers[] = "$name: $value";
  $options = ["method" => $call["method"], "header" => $headers, "content" => base64_decode($call["body"]),
    "ignore_errors" => true, "protocol_version" => 1.1];
  file_get_contents($call["url"], false, stream_context_create(["http" => $options]));
  $statuses[] = (int) explode(" ", $http_response_header[0])[1];
}
echo json_encode($statuses);
`;

export const programs: Readonly<Record<string, Program>> = {
  "Python's http.client": { probe: ["--version"], command: "python3", args: ["-c", python] },
  "Perl's HTTP::Tiny": { probe: ["-v"], command: "perl", args: ["-e", perl] },
  "Ruby's net/http": { probe: ["--version"], command: "ruby", args: ["-e", ruby] },
  "PHP's streams": { probe: ["--version"], command: "php", args: ["-r", php] },
};

/**
 * What a program writes to standard output for what it gets on standard input.
 * @throws Error with its errors if it fails
 */
export async function pipe(
  command: string,
  args: readonly string[],
  input: string,
): Promise<string> {
  const child = spawn(command, args);
  let [output, errors] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  child.stdin.end(input);
  await once(child, "close");
  if (child.exitCode !== 0) throw new Error(`${command} failed: ${errors}`);
  return output;
}
