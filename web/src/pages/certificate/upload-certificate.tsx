// A certificate for browsers and tools: chain and key as PEM, pasted or read from files here.
import { Button, TextArea } from "@patternfly/react-core";
import { useRef, useState } from "react";
import { useClient } from "../../api/context";
import { CertificateService } from "../../api/gen/quantix/certificate/v1/certificate_pb";
import { Dialog } from "../../ui/dialog";
import { Field } from "../../ui/field";
import { useRun } from "../../ui/run";

/** The vDC refuses more. */
const BYTES_MAX = 64 * 1024;

export function UploadDialog({ onClose }: { onClose: () => void }) {
  const client = useClient(CertificateService);
  const { busy, fault, run } = useRun(onClose);
  const [chain, setChain] = useState("");
  const [key, setKey] = useState("");
  return (
    <Dialog
      title="Upload certificate"
      note="For browsers and tools. Hosts go on seeing the vDC's own."
      submit="Upload certificate"
      busy={busy}
      disabled={chain.trim() === "" || key.trim() === ""}
      fault={fault}
      onSubmit={() => run(() => client.uploadCertificate({ chainPem: chain, keyPem: key }))}
      onClose={onClose}
    >
      <PemField label="Certificate chain" help="PEM: the vDC's own certificate first, then who signed it." value={chain} onChange={setChain} />
      <PemField label="Private key" help="PEM without a passphrase. It is kept encrypted and never shown again." value={key} onChange={setKey} secret />
      <p>
        It is served from the next connection on; this page's own connection stays. It does not renew itself: an alert comes two weeks before
        it ends.
      </p>
    </Dialog>
  );
}

function PemField(props: { label: string; help: string; value: string; onChange: (value: string) => void; secret?: boolean }) {
  const { label, value, onChange } = props;
  const input = useRef<HTMLInputElement>(null);
  const [error, setError] = useState<string>();
  const read = async (file: File | undefined) => {
    if (!file) return;
    if (file.size > BYTES_MAX) {
      setError(`${file.name} is longer than 64 KiB.`);
      return;
    }
    setError(undefined);
    onChange(await file.text());
  };
  return (
    <>
      <Field label={label} help={props.help} error={error}>
        {(ids) => (
          <TextArea
            {...ids}
            className="q-mono"
            rows={5}
            value={value}
            onChange={(_, v) => onChange(v)}
            spellCheck={false}
            autoComplete="off"
            placeholder={props.secret ? "-----BEGIN PRIVATE KEY-----" : "-----BEGIN CERTIFICATE-----"}
          />
        )}
      </Field>
      <div>
        <Button variant="link" isInline size="sm" onClick={() => input.current?.click()}>
          Read {label.toLowerCase()} from a file
        </Button>
        <input ref={input} type="file" hidden aria-label={`File with the ${label.toLowerCase()}`} onChange={(e) => void read(e.target.files?.[0])} />
      </div>
    </>
  );
}
