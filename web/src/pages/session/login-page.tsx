// Signing in: name and password, then a second factor where there is one; or a passkey alone. A one-time password leads on to choosing an
// own one.
import { Button, TextInput } from "@patternfly/react-core";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { useApi, useClient } from "../../api/context";
import { codeOf, faultOf } from "../../api/fault";
import { FaultCode } from "../../api/gen/quantix/fault/v1/fault_pb";
import { SessionService, type LoginResponse, type SecondFactorNeeded } from "../../api/gen/quantix/session/v1/session_pb";
import { sessionQuery } from "../../api/session";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { ActionButton } from "../../ui/parts";
import { Wordmark } from "../../ui/wordmark";
import { useAskPasskey, usePasskeyOffer } from "./passkey-offer";
import { DirectoryHint, HandedOver, Providers } from "./sign-in-ways";

export function LoginPage() {
  const { queries, transport } = useApi();
  const navigate = useNavigate();
  const { next } = useSearch({ strict: false }) as { next?: string };
  const [needed, setNeeded] = useState<SecondFactorNeeded>();
  const [fault, setFault] = useState<FaultView>();
  const enter = async ({ session, secondFactor }: LoginResponse) => {
    setFault(undefined);
    if (secondFactor) return setNeeded(secondFactor);
    queries.clear();
    if (session) queries.setQueryData(sessionQuery(transport).queryKey, session);
    if (session?.mustChangePassword) return navigate({ to: "/change-password" });
    return navigate({ href: next ?? "/" });
  };
  const refuse = (error: unknown) => {
    if (codeOf(error) === FaultCode.CHALLENGE_EXPIRED) setNeeded(undefined);
    setFault(faultOf(error));
  };
  const step = { fault, onAnswer: enter, onRefused: refuse };
  return (
    <main className="q-gate">
      {needed ? <SecondStep needed={needed} onTurn={() => setFault(undefined)} onBack={() => setNeeded(undefined)} {...step} /> : <FirstStep {...step} />}
    </main>
  );
}

interface StepProps {
  fault: FaultView | undefined;
  onAnswer: (answer: LoginResponse) => Promise<unknown> | void;
  onRefused: (error: unknown) => void;
}

/** Runs one call of a sign-in. */
function useStep({ onAnswer, onRefused }: StepProps) {
  const [busy, setBusy] = useState(false);
  const run = async (call: () => Promise<LoginResponse>) => {
    setBusy(true);
    try {
      await onAnswer(await call());
    } catch (error) {
      onRefused(error);
    } finally {
      setBusy(false);
    }
  };
  return { busy, run };
}

function FirstStep(props: StepProps) {
  const client = useClient(SessionService);
  const [userName, setUserName] = useState("");
  const [password, setPassword] = useState("");
  const { busy, run } = useStep(props);
  const ask = useAskPasskey();
  const noPasskeys = usePasskeyOffer({ ...props, on: !busy });
  const signIn = (event: FormEvent) => {
    event.preventDefault();
    void run(() => client.login({ userName, password })).then(() => setPassword(""));
  };
  return (
    <form className="q-gate__card" onSubmit={signIn} aria-label="Sign in">
      <Wordmark />
      <h1>Sign in</h1>
      <HandedOver />
      <Providers />
      <div className="q-field">
        <label htmlFor="user-name">User name</label>
        <TextInput id="user-name" autoComplete="username webauthn" autoFocus value={userName} onChange={(_, v) => setUserName(v)} />
      </div>
      <div className="q-field">
        <label htmlFor="password">Password</label>
        <TextInput id="password" type="password" autoComplete="current-password" value={password} onChange={(_, v) => setPassword(v)} />
      </div>
      <DirectoryHint />
      {props.fault && <FaultPanel fault={props.fault} />}
      <Button type="submit" isBlock isLoading={busy} isDisabled={busy || userName === "" || password === ""}>
        Sign in
      </Button>
      <ActionButton action={{ verb: "passkey", allowed: noPasskeys === "", reasonIfNot: noPasskeys }} busy={busy} onClick={() => void run(() => ask(""))}>
        Sign in with a passkey
      </ActionButton>
      <p className="q-muted q-gate__note">First time here? The vDC printed a one-time password for the user admin when it was started.</p>
    </form>
  );
}

type Way = "passkey" | "totp" | "recovery";

const WAYS: Record<Way, { turn: string; label: string }> = {
  passkey: { turn: "Use a passkey", label: "Passkey" },
  totp: { turn: "Use the authenticator app", label: "Code of your authenticator app" },
  recovery: { turn: "Use a recovery code", label: "Recovery code" },
};

function SecondStep({ needed, onTurn, onBack, ...props }: StepProps & { needed: SecondFactorNeeded; onTurn: () => void; onBack: () => void }) {
  const ways = ([["passkey", needed.passkey], ["totp", needed.totp], ["recovery", needed.recoveryCode]] as const).filter(([, has]) => has).map(([way]) => way);
  const [way, setWay] = useState<Way | undefined>(ways[0]);
  const turn = (other: Way) => {
    onTurn();
    setWay(other);
  };
  return (
    <div className="q-gate__card">
      <Wordmark />
      <h1>Second step</h1>
      {way === undefined && <p>None of your second factors can be used here now.</p>}
      {needed.passkeyReasonIfNot !== "" && <p className="q-muted">Your passkey cannot be used. {needed.passkeyReasonIfNot}</p>}
      {way === "passkey" && <PasskeyStep challenge={needed.challenge} {...props} />}
      {(way === "totp" || way === "recovery") && <CodeStep key={way} way={way} challenge={needed.challenge} {...props} />}
      <div className="q-gate__note q-gate__ways">
        {ways
          .filter((other) => other !== way)
          .map((other) => (
            <Button key={other} variant="link" isInline onClick={() => turn(other)}>
              {WAYS[other].turn}
            </Button>
          ))}
        <Button variant="link" isInline onClick={onBack}>
          Back
        </Button>
      </div>
    </div>
  );
}

function PasskeyStep({ challenge, ...props }: StepProps & { challenge: string }) {
  const { busy, run } = useStep(props);
  const ask = useAskPasskey();
  return (
    <>
      <p>Show the passkey that you have added to your account.</p>
      {props.fault && <FaultPanel fault={props.fault} />}
      <Button isBlock autoFocus isLoading={busy} isDisabled={busy} onClick={() => void run(() => ask(challenge))}>
        Use your passkey
      </Button>
    </>
  );
}

function CodeStep({ way, challenge, ...props }: StepProps & { way: "totp" | "recovery"; challenge: string }) {
  const client = useClient(SessionService);
  const [code, setCode] = useState("");
  const { busy, run } = useStep(props);
  const confirm = (event: FormEvent) => {
    event.preventDefault();
    const proof = { case: way === "totp" ? ("totpCode" as const) : ("recoveryCode" as const), value: code };
    void run(() => client.confirmLogin({ challenge, proof })).then(() => setCode(""));
  };
  return (
    <form className="q-gate__form" onSubmit={confirm} aria-label="Second step">
      <div className="q-field">
        <label htmlFor="code">{WAYS[way].label}</label>
        <TextInput id="code" autoComplete="one-time-code" inputMode={way === "totp" ? "numeric" : "text"} autoFocus value={code} onChange={(_, v) => setCode(v)} />
      </div>
      {props.fault && <FaultPanel fault={props.fault} />}
      <Button type="submit" isBlock isLoading={busy} isDisabled={busy || code === ""}>
        Sign in
      </Button>
    </form>
  );
}
