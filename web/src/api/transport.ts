// The one way to the vDC: same origin, session cookie, and a word when the session is over.
import type { Interceptor, Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { FaultCode } from "./gen/quantix/fault/v1/fault_pb";
import { codeOf } from "./fault";

type Listener = (code: FaultCode) => void;
let listener: Listener = () => {};

/** Who is told when a call is refused because nobody is signed in, or the password must be changed first. */
export function onSessionRefused(next: Listener): void {
  listener = next;
}

/** Reports session refusals; the error itself travels on to the caller. */
export const sessionInterceptor: Interceptor = (next) => async (request) => {
  try {
    return await next(request);
  } catch (error) {
    const code = codeOf(error);
    if (code === FaultCode.NOT_SIGNED_IN || code === FaultCode.PASSWORD_CHANGE_REQUIRED) listener(code);
    throw error;
  }
};

export function createTransport(): Transport {
  return createConnectTransport({
    baseUrl: window.location.origin,
    useBinaryFormat: true,
    interceptors: [sessionInterceptor],
    fetch: (input, init) => fetch(input, { ...init, credentials: "same-origin" }),
  });
}
