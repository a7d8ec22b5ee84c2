// Passkeys on the sign-in page: offered by the browser where the name is typed, and asked for by a button.
import { useEffect, useEffectEvent, useState } from "react";
import { useClient } from "../../api/context";
import { codeOf, faultOf, Stated } from "../../api/fault";
import { FaultCode } from "../../api/gen/quantix/fault/v1/fault_pb";
import { SessionService, type LoginResponse } from "../../api/gen/quantix/session/v1/session_pb";
import { canAutofill, showPasskey, whyNoPasskeys } from "../../api/passkey";

/** The vDC's question is good for five minutes; a page that stands open asks anew before that. */
const RENEW_MS = 240_000;

/** Asks for a passkey in the browser's window; after the first step with its challenge. */
export function useAskPasskey(): (challenge: string) => Promise<LoginResponse> {
  const client = useClient(SessionService);
  return async (challenge) => {
    const { ceremony, optionsJson } = await client.beginPasskeyLogin({ challenge });
    const credentialJson = await showPasskey(optionsJson);
    return client.confirmLogin({ challenge, proof: { case: "passkey", value: { ceremony, credentialJson } } });
  };
}

interface Offer {
  /** False while something else asks. */
  on: boolean;
  onAnswer: (answer: LoginResponse) => unknown;
  onRefused: (error: unknown) => void;
}

/** Offers passkeys while the page is looked at; answers why none can be used here, or nothing. */
export function usePasskeyOffer({ on, onAnswer, onRefused }: Offer): string {
  const client = useClient(SessionService);
  const [reason, setReason] = useState(whyNoPasskeys);
  const [round, setRound] = useState(0);
  const enter = useEffectEvent(onAnswer);
  const refuse = useEffectEvent(onRefused);
  useEffect(() => {
    if (!on || reason !== "") return;
    const over = new AbortController();
    const again = () => {
      if (document.visibilityState === "visible") setRound((n) => n + 1);
      else document.addEventListener("visibilitychange", again, { once: true });
    };
    const timer = setTimeout(again, RENEW_MS);
    const offer = async () => {
      const { ceremony, optionsJson } = await client.beginPasskeyLogin({}, { signal: over.signal });
      if (!(await canAutofill()) || over.signal.aborted) return;
      const credentialJson = await showPasskey(optionsJson, over.signal);
      await enter(await client.confirmLogin({ proof: { case: "passkey", value: { ceremony, credentialJson } } }));
    };
    offer().catch((error: unknown) => {
      // What the browser says of an offer that nobody took is no news. Neither is that there can be none.
      if (over.signal.aborted || error instanceof Stated) return;
      if (codeOf(error) === FaultCode.PASSKEY_WRONG_ADDRESS) {
        const { message, remedy } = faultOf(error);
        setReason(`${message} ${remedy ?? ""}`);
      } else if (codeOf(error) !== undefined && codeOf(error) !== FaultCode.TOO_MANY_ATTEMPTS) {
        refuse(error);
        setRound((n) => n + 1);
      }
    });
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", again);
      over.abort();
    };
  }, [client, on, reason, round]);
  return reason;
}
