// Passkeys as browsers have them (WebAuthn): the vDC's question in, the browser's answer out, both as JSON, and what
// went wrong in plain words. Converted by hand: not every browser in use has the methods for it.
import { Stated } from "./fault";

/** Why this browser can show no passkey at all here; empty when it may. */
export function whyNoPasskeys(): string {
  if (typeof PublicKeyCredential !== "undefined" && navigator.credentials) return "";
  if (!window.isSecureContext) return "Browsers use passkeys only over HTTPS: open this page by an address that begins with https://.";
  return "This browser has no passkeys.";
}

/** Whether the browser offers passkeys where a name is typed. */
export async function canAutofill(): Promise<boolean> {
  if (whyNoPasskeys() !== "") return false;
  return (await PublicKeyCredential.isConditionalMediationAvailable?.().catch(() => false)) ?? false;
}

/** Has a device make a passkey. */
export async function makePasskey(optionsJson: string): Promise<string> {
  const { challenge, user, excludeCredentials, ...rest } = JSON.parse(optionsJson) as PublicKeyCredentialCreationOptionsJSON;
  const publicKey = {
    ...rest,
    challenge: bytes(challenge),
    user: { ...user, id: bytes(user.id) },
    excludeCredentials: excludeCredentials?.map((c) => ({ ...c, id: bytes(c.id) })),
  } as PublicKeyCredentialCreationOptions;
  const made = await answered(rest.timeout, () => navigator.credentials.create({ publicKey }));
  const response = made.response as AuthenticatorAttestationResponse;
  return JSON.stringify({
    ...head(made),
    response: {
      clientDataJSON: text(response.clientDataJSON),
      attestationObject: text(response.attestationObject),
      transports: response.getTransports?.() ?? [],
    },
  });
}

/**
 * Has a device show a passkey. With `autofill` the browser offers it where a name is typed, and nothing is heard until
 * somebody takes it or the signal ends the offer.
 */
export async function showPasskey(optionsJson: string, autofill?: AbortSignal): Promise<string> {
  const { challenge, allowCredentials, ...rest } = JSON.parse(optionsJson) as PublicKeyCredentialRequestOptionsJSON;
  const publicKey = {
    ...rest,
    challenge: bytes(challenge),
    allowCredentials: allowCredentials?.map((c) => ({ ...c, id: bytes(c.id) })),
  } as PublicKeyCredentialRequestOptions;
  const how = autofill ? { mediation: "conditional" as const, signal: autofill } : {};
  const shown = await answered(rest.timeout, () => navigator.credentials.get({ publicKey, ...how }));
  const response = shown.response as AuthenticatorAssertionResponse;
  return JSON.stringify({
    ...head(shown),
    response: {
      clientDataJSON: text(response.clientDataJSON),
      authenticatorData: text(response.authenticatorData),
      signature: text(response.signature),
      userHandle: response.userHandle ? text(response.userHandle) : null,
    },
  });
}

function head(credential: PublicKeyCredential) {
  return { id: credential.id, rawId: text(credential.rawId), type: credential.type };
}

async function answered(timeoutMs: number | undefined, ask: () => Promise<Credential | null>): Promise<PublicKeyCredential> {
  const began = Date.now();
  try {
    const credential = await ask();
    if (credential === null) throw new DOMException("no credential", "NotAllowedError");
    return credential as PublicKeyCredential;
  } catch (error) {
    // By name only: some password managers answer with errors of their own making.
    const { name = "", message = "" } = error as Partial<DOMException>;
    const waited = timeoutMs !== undefined && Date.now() - began >= timeoutMs - 1000;
    throw new Stated({ ...inWords(name, message, waited), cause: message });
  }
}

/** Browsers say little on purpose: somebody who declined and a device without a passkey look alike. */
function inWords(name: string, message: string, waited: boolean): { code: string; message: string; remedy: string } {
  if (name === "NotAllowedError" && /certificate/i.test(message)) {
    return {
      code: "PASSKEY_CERTIFICATE",
      message: "The browser uses no passkeys here, because it does not trust the certificate of this page.",
      remedy: "Have it trust the vDC's authority, or have a certificate uploaded under Certificates that it trusts.",
    };
  }
  if (name === "NotAllowedError" && waited) {
    return { code: "PASSKEY_TIMED_OUT", message: "Nobody answered the browser's question for a passkey in time.", remedy: "Try again." };
  }
  switch (name) {
    case "NotAllowedError":
    case "AbortError":
      return {
        code: "PASSKEY_CANCELLED",
        message: "No passkey was used: the question was closed, or no device here has a passkey for this page.",
        remedy: "Try again, or go on without a passkey.",
      };
    case "InvalidStateError":
      return { code: "PASSKEY_KNOWN", message: "This device has a passkey of yours for this vDC already.", remedy: "Use it, or choose another device." };
    case "NotSupportedError":
    case "ConstraintError":
      return {
        code: "PASSKEY_NOT_SUPPORTED",
        message: "This device cannot keep a passkey that checks who holds it.",
        remedy: "Set up a PIN, a fingerprint or a face on it, or use another device.",
      };
    case "SecurityError":
      return { code: "PASSKEY_WRONG_ADDRESS", message: "The browser uses no passkeys under the address of this page.", remedy: "Open this page by its name, over HTTPS." };
    default:
      return { code: "PASSKEY_FAILED", message: "The browser could not use a passkey.", remedy: "Try again, or use another browser or device." };
  }
}

function bytes(base64url: string): Uint8Array<ArrayBuffer> {
  const raw = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}

function text(buffer: ArrayBuffer): string {
  let raw = "";
  for (const byte of new Uint8Array(buffer)) raw += String.fromCharCode(byte);
  return btoa(raw).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
