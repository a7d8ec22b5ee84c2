// Signing in. A one-time password leads on to choosing an own one.
import { Button, TextInput } from "@patternfly/react-core";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { useApi, useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { SessionService } from "../../api/gen/quantix/session/v1/session_pb";
import { sessionQuery } from "../../api/session";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { Wordmark } from "../../ui/wordmark";

export function LoginPage() {
  const { queries, transport } = useApi();
  const client = useClient(SessionService);
  const navigate = useNavigate();
  const { next } = useSearch({ strict: false }) as { next?: string };
  const [userName, setUserName] = useState("");
  const [password, setPassword] = useState("");
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<FaultView>();
  const signIn = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setFault(undefined);
    try {
      const { session } = await client.login({ userName, password });
      queries.clear();
      if (session) queries.setQueryData(sessionQuery(transport).queryKey, session);
      if (session?.mustChangePassword) await navigate({ to: "/change-password" });
      else await navigate({ href: next ?? "/" });
    } catch (error) {
      setFault(faultOf(error));
      setPassword("");
    } finally {
      setBusy(false);
    }
  };
  return (
    <main className="q-gate">
      <form className="q-gate__card" onSubmit={(e) => void signIn(e)} aria-label="Sign in">
        <Wordmark />
        <h1>Sign in</h1>
        <div className="q-field">
          <label htmlFor="user-name">User name</label>
          <TextInput id="user-name" autoComplete="username" autoFocus value={userName} onChange={(_, v) => setUserName(v)} />
        </div>
        <div className="q-field">
          <label htmlFor="password">Password</label>
          <TextInput id="password" type="password" autoComplete="current-password" value={password} onChange={(_, v) => setPassword(v)} />
        </div>
        {fault && <FaultPanel fault={fault} />}
        <Button type="submit" isBlock isLoading={busy} isDisabled={busy || userName === "" || password === ""}>
          Sign in
        </Button>
        <p className="q-muted q-gate__note">First time here? The vDC printed a one-time password for the user admin when it was started.</p>
      </form>
    </main>
  );
}
