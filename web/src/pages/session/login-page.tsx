// Signing in: name and password, then a second factor where there is one. A one-time password leads on to choosing an
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
import { Wordmark } from "../../ui/wordmark";
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
      {needed ? <SecondStep needed={needed} onBack={() => setNeeded(undefined)} {...step} /> : <FirstStep {...step} />}
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
        <TextInput id="user-name" autoComplete="username" autoFocus value={userName} onChange={(_, v) => setUserName(v)} />
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
      <p className="q-muted q-gate__note">First time here? The vDC printed a one-time password for the user admin when it was started.</p>
    </form>
  );
}

function SecondStep({ needed, onBack, ...props }: StepProps & { needed: SecondFactorNeeded; onBack: () => void }) {
  const client = useClient(SessionService);
  const [byCode, setByCode] = useState(!needed.totp);
  const [code, setCode] = useState("");
  const { busy, run } = useStep(props);
  const label = byCode ? "Recovery code" : "Code of your authenticator app";
  const confirm = (event: FormEvent) => {
    event.preventDefault();
    const proof = { case: byCode ? ("recoveryCode" as const) : ("totpCode" as const), value: code };
    void run(() => client.confirmLogin({ challenge: needed.challenge, proof })).then(() => setCode(""));
  };
  return (
    <form className="q-gate__card" onSubmit={confirm} aria-label="Second step">
      <Wordmark />
      <h1>Second step</h1>
      <div className="q-field">
        <label htmlFor="code">{label}</label>
        <TextInput id="code" key={label} autoComplete="one-time-code" inputMode={byCode ? "text" : "numeric"} autoFocus value={code} onChange={(_, v) => setCode(v)} />
      </div>
      {props.fault && <FaultPanel fault={props.fault} />}
      <Button type="submit" isBlock isLoading={busy} isDisabled={busy || code === ""}>
        Sign in
      </Button>
      <p className="q-gate__note">
        {needed.totp && needed.recoveryCode && (
          <Button variant="link" isInline onClick={() => setByCode(!byCode)}>
            {byCode ? "Use the authenticator app" : "Use a recovery code"}
          </Button>
        )}{" "}
        <Button variant="link" isInline onClick={onBack}>
          Back
        </Button>
      </p>
    </form>
  );
}
