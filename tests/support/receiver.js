// A receiver of Standard Webhooks with nothing but Node's own modules, after the specification's text.
// Prints its port; answers 204 to a request that is signed with the secret in SECRET, 400 with the reason to any other.
"use strict";
const crypto = require("node:crypto");
const http = require("node:http");

const key = Buffer.from(process.env.SECRET.replace(/^whsec_/, ""), "base64");

function refusal(headers, body) {
  const id = headers["webhook-id"];
  const timestamp = headers["webhook-timestamp"];
  const signatures = headers["webhook-signature"];
  if (!id || !timestamp || !signatures) return "a header is missing";
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > 300) return "too old or too new";
  const text = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body]);
  const expected = crypto.createHmac("sha256", key).update(text).digest();
  const good = signatures.split(" ").some((one) => {
    const [version, signature] = one.split(",");
    const given = Buffer.from(signature, "base64");
    return version === "v1" && given.length === expected.length && crypto.timingSafeEqual(given, expected);
  });
  return good ? null : "no signature fits";
}

http
  .createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      const reason = refusal(request.headers, Buffer.concat(parts));
      response.writeHead(reason ? 400 : 204).end(reason ?? undefined);
    });
  })
  .listen(0, "127.0.0.1", function () {
    console.log(this.address().port);
  });
