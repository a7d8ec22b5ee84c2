// Adding a passkey: a name and the password here, then the browser asks for the device.
import { useState } from "react";
import { useClient } from "../../api/context";
import { FactorService } from "../../api/gen/quantix/factor/v1/factor_pb";
import { makePasskey } from "../../api/passkey";
import { Dialog } from "../../ui/dialog";
import { TextField } from "../../ui/field";
import { useRun } from "../../ui/run";
import { PasswordField, RecoveryCodes, type FactorDialogProps } from "./factor-dialogs";

export function AddPasskeyDialog({ needsPassword, onDone, onClose }: FactorDialogProps) {
  const client = useClient(FactorService);
  const [name, setName] = useState("Passkey");
  const [password, setPassword] = useState("");
  const [codes, setCodes] = useState<string[]>();
  const { busy, fault, run } = useRun(() => undefined);
  if (codes) return <RecoveryCodes codes={codes} onClose={onClose} />;
  const add = () =>
    run(async () => {
      const { ceremony, optionsJson } = await client.beginPasskey({ name, password });
      const credentialJson = await makePasskey(optionsJson);
      const { recoveryCodes } = await client.confirmPasskey({ ceremony, credentialJson });
      onDone();
      if (recoveryCodes.length > 0) setCodes(recoveryCodes);
      else onClose();
    });
  return (
    <Dialog title="Add passkey" size="small" submit="Go on" busy={busy} disabled={name === "" || (needsPassword && password === "")} fault={fault} onSubmit={add} onClose={onClose}>
      <p>This device, a phone or a security key keeps it and checks that it is you. It signs you in by itself, without name and password, under {window.location.hostname} only.</p>
      <TextField label="Name" help="By which you know it again." autoComplete="off" value={name} onChange={(_, v) => setName(v)} />
      <PasswordField needed={needsPassword} value={password} onChange={setPassword} />
    </Dialog>
  );
}
