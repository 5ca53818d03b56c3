/** A minimal proxy on undici: passes on the request and returns the answer. */
import { createServer } from "node:http";
import { Pool } from "undici";

const pool = new Pool(process.env.UPSTREAM_URL);

const server = createServer(async (req, res) => {
  const { method, url: path } = req;
  const headers = { ...req.headers };
  delete headers.connection;
  const answer = await pool.request({ method, path, headers, body: req });
  delete answer.headers.connection;
  delete answer.headers["keep-alive"];
  res.writeHead(answer.statusCode, answer.headers);
  answer.body.pipe(res);
}).listen(0, "127.0.0.1", () => {
  const url = `http://127.0.0.1:${server.address().port}`;
  console.log(JSON.stringify({ event: "started", url }));
});
