// A browser with passkeys, for jsdom, which has none.
import { vi } from "vitest";

type Ask = (options: CredentialCreationOptions & CredentialRequestOptions) => Promise<unknown>;

const bytes = (...all: number[]) => Uint8Array.from(all).buffer;

/** What a device answers. Its id is `_-8`. */
export function fakeCredential() {
  const response = {
    clientDataJSON: bytes(1, 2, 3),
    attestationObject: bytes(4),
    authenticatorData: bytes(5),
    signature: bytes(6),
    userHandle: bytes(4, 5, 6),
    getTransports: () => ["internal"],
  };
  return { id: "_-8", rawId: bytes(255, 239), type: "public-key", response };
}

/** The browser's own words for a refusal. */
export function browserSays(name: string, message = "The operation either timed out or was not allowed."): () => Promise<never> {
  return () => Promise.reject(new DOMException(message, name));
}

/** Somebody shows their device. */
export const deviceAnswers = () => Promise.resolve(fakeCredential());

export class FakeCredentials {
  /** What comes of a question in a window. */
  create: Ask = deviceAnswers;
  get: Ask = deviceAnswers;
  /** Somebody takes what is offered where the name is typed. */
  take: (() => void) | undefined;
  /** Every question, as the browser got it. */
  asked: (CredentialCreationOptions & CredentialRequestOptions)[] = [];

  /** A browser with passkeys from now on; whether it offers them where a name is typed. */
  static come(autofill: boolean): FakeCredentials {
    const fake = new FakeCredentials();
    vi.stubGlobal("PublicKeyCredential", { isConditionalMediationAvailable: () => Promise.resolve(autofill) });
    const ask = (how: "create" | "get"): Ask => (options) => {
      fake.asked.push(options);
      if (options.mediation !== "conditional") return fake[how](options);
      return new Promise((resolve, reject) => {
        fake.take = () => resolve(fakeCredential());
        options.signal?.addEventListener("abort", () => {
          fake.take = undefined;
          reject(new DOMException("signal is aborted", "AbortError"));
        });
      });
    };
    Object.defineProperty(navigator, "credentials", { configurable: true, value: { create: ask("create"), get: ask("get") } });
    return fake;
  }

  /** A browser without passkeys again. */
  static leave(): void {
    vi.unstubAllGlobals();
    Reflect.deleteProperty(navigator, "credentials");
  }
}
