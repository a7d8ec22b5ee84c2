// Setting up and removing second factors. What a thief of a session must not do asks for the password again.
import { Button } from "@patternfly/react-core";
import { useState } from "react";
import { useClient } from "../../api/context";
import { FactorService, type BeginTotpResponse, type Factor } from "../../api/gen/quantix/factor/v1/factor_pb";
import { Confirm, Dialog } from "../../ui/dialog";
import { TextField } from "../../ui/field";
import { Copyable } from "../../ui/parts";
import { useRun } from "../../ui/run";

export interface FactorDialogProps {
  needsPassword: boolean;
  onDone: () => void;
  onClose: () => void;
}

export function PasswordField({ needed, value, onChange }: { needed: boolean; value: string; onChange: (value: string) => void }) {
  if (!needed) return null;
  return <TextField label="Your password" type="password" autoComplete="current-password" value={value} onChange={(_, v) => onChange(v)} />;
}

/** Ten codes, shown this once. */
export function RecoveryCodes({ codes, onClose }: { codes: string[]; onClose: () => void }) {
  const text = codes.join("\n");
  return (
    <Dialog title="Recovery codes" size="small" onClose={onClose} closeLabel="I have kept them">
      <p>Each stands in once for your second factor when you do not have it. They are shown this once: print them, or keep them in a password manager.</p>
      <pre className="q-mono" aria-label="Recovery codes">
        {text}
      </pre>
      <Button variant="secondary" size="sm" onClick={() => void navigator.clipboard.writeText(text)}>
        Copy all codes
      </Button>
    </Dialog>
  );
}

export function AddTotpDialog({ needsPassword, onDone, onClose }: FactorDialogProps) {
  const client = useClient(FactorService);
  const [name, setName] = useState("Authenticator app");
  const [password, setPassword] = useState("");
  const [begun, setBegun] = useState<BeginTotpResponse>();
  const [code, setCode] = useState("");
  const [codes, setCodes] = useState<string[]>();
  const { busy, fault, run } = useRun(() => undefined);
  if (codes) return <RecoveryCodes codes={codes} onClose={onClose} />;
  const begin = () => run(async () => setBegun(await client.beginTotp({ name, password })));
  const confirm = () =>
    run(async () => {
      const { recoveryCodes } = await client.confirmTotp({ factorId: begun?.factorId ?? "", code });
      onDone();
      if (recoveryCodes.length > 0) setCodes(recoveryCodes);
      else onClose();
    });
  if (!begun) {
    return (
      <Dialog title="Add authenticator app" size="small" submit="Go on" busy={busy} disabled={name === "" || (needsPassword && password === "")} fault={fault} onSubmit={begin} onClose={onClose}>
        <TextField label="Name" help="By which you know it again." autoComplete="off" value={name} onChange={(_, v) => setName(v)} />
        <PasswordField needed={needsPassword} value={password} onChange={setPassword} />
      </Dialog>
    );
  }
  return (
    <Dialog title="Add authenticator app" size="small" submit="Turn on" busy={busy} disabled={code.replace(/\s/g, "").length !== 6} fault={fault} onSubmit={confirm} onClose={onClose}>
      <p>Scan this with the app, or type the secret into it. Then enter the code it shows.</p>
      <img className="q-qr" alt="QR code of the secret" width={200} height={200} src={`data:image/svg+xml;utf8,${encodeURIComponent(begun.qrSvg)}`} />
      <Copyable text={begun.secret} label="secret" />
      <TextField label="Code" inputMode="numeric" autoComplete="one-time-code" autoFocus value={code} onChange={(_, v) => setCode(v)} />
    </Dialog>
  );
}

export function RemoveFactorDialog({ factor, needsPassword, onDone, onClose }: FactorDialogProps & { factor: Factor }) {
  const client = useClient(FactorService);
  const [password, setPassword] = useState("");
  const { busy, fault, run } = useRun(() => (onDone(), onClose()));
  const remove = () => run(() => client.removeFactor({ factorId: factor.id, password }));
  return (
    <Confirm title={`Remove "${factor.name}"?`} verb="Remove" busy={busy} fault={fault} onConfirm={remove} onClose={onClose}>
      <p>It no longer signs you in. With the last one your recovery codes go, too.</p>
      <PasswordField needed={needsPassword} value={password} onChange={setPassword} />
    </Confirm>
  );
}

export function MakeCodesDialog({ needsPassword, onDone, onClose }: FactorDialogProps) {
  const client = useClient(FactorService);
  const [password, setPassword] = useState("");
  const [codes, setCodes] = useState<string[]>();
  const { busy, fault, run } = useRun(onDone);
  if (codes) return <RecoveryCodes codes={codes} onClose={onClose} />;
  const make = () => run(async () => setCodes((await client.makeRecoveryCodes({ password })).codes));
  return (
    <Confirm title="Make new recovery codes?" verb="Make new codes" busy={busy} fault={fault} onConfirm={make} onClose={onClose}>
      <p>The codes you have now stop working.</p>
      <PasswordField needed={needsPassword} value={password} onChange={setPassword} />
    </Confirm>
  );
}
