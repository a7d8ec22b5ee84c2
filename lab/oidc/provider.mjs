// A real OpenID Connect provider over TLS on loopback, for `lab/tests/cluster/oidc.rs`.
//
//   node provider.mjs PORT CERTIFICATE KEY ACCOUNTS REDIRECT_URI
//
// ACCOUNTS is a JSON file, read at each sign-in: {"ann": {"preferred_username": "ann", "groups": ["ops"]}}. Any password is
// right. As the standard has it, the ID token says only who it is, and userinfo the rest.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import Provider from "oidc-provider";

const [port, certificate, key, accounts, redirectUri] = process.argv.slice(2);
const issuer = `https://localhost:${port}`;

const provider = new Provider(issuer, {
  clients: [{ client_id: "quantix", client_secret: "CanaryOf:Lab%Secret", redirect_uris: [redirectUri] }],
  claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
  pkce: { required: () => true },
  cookies: { keys: ["of no value"] },
  findAccount: (_ctx, sub) => {
    const claims = JSON.parse(readFileSync(accounts, "utf8"))[sub];
    return claims && { accountId: sub, claims: () => ({ sub, ...claims }) };
  },
});
provider.on("server_error", (_ctx, error) => console.error(error));

const tls = { cert: readFileSync(certificate), key: readFileSync(key) };
createServer(tls, provider.callback()).listen(Number(port), "127.0.0.1", () => console.log(`ready ${issuer}`));
