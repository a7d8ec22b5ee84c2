// How a provider or a directory is reached.
import { Checkbox, TextArea } from "@patternfly/react-core";
import { Controller, useFormContext } from "react-hook-form";
import { Field, SelectField, TextField } from "../../ui/field";
import { Copyable } from "../../ui/parts";
import { TEMPLATES, templateOf, words, type SourceInput } from "./source-form";

type TextName = { [K in keyof SourceInput]: SourceInput[K] extends string ? K : never }[keyof SourceInput];

/** A line of the form by its name; what is wrong with it comes from the form. */
function Line(props: { name: TextName; label: string; help?: string; placeholder?: string; optional?: boolean; secret?: boolean }) {
  const { register, formState } = useFormContext<SourceInput>();
  const { name, secret, ...rest } = props;
  return (
    <TextField
      {...rest}
      type={secret ? "password" : "text"}
      className="q-mono"
      autoComplete={secret ? "new-password" : "off"}
      spellCheck={false}
      error={formState.errors[name]?.message}
      {...register(name)}
    />
  );
}

function Lines({ name, label, help, placeholder, optional, rows }: { name: TextName; label: string; help?: string; placeholder?: string; optional?: boolean; rows: number }) {
  const { control, formState } = useFormContext<SourceInput>();
  return (
    <Field label={label} help={help} optional={optional} error={formState.errors[name]?.message}>
      {(ids) => (
        <Controller
          control={control}
          name={name}
          render={({ field }) => <TextArea {...ids} className="q-mono" value={field.value} onChange={(_, v) => field.onChange(v)} onBlur={field.onBlur} rows={rows} resizeOrientation="vertical" placeholder={placeholder} spellCheck={false} />}
        />
      )}
    </Field>
  );
}

/** `kept`: one is with the vDC, and is not told. `moved`: that one is no longer good, since the address is another. */
export interface SecretState {
  kept: boolean;
  moved: boolean;
}

function Secret({ label, help, state: { kept, moved } }: { label: string; help?: string; state: SecretState }) {
  const stays = kept && !moved;
  return (
    <Line
      name="secret"
      label={label}
      secret
      placeholder={stays ? "kept; type to replace" : undefined}
      help={kept && moved ? "The address is another one: enter the secret again. It is sent nowhere it was not meant for." : help}
    />
  );
}

const CA_HELP = "Only where its certificate is signed by nobody this machine trusts: PEM of who signed it.";

export function OidcFields({ secret, redirectUri }: { secret: SecretState; redirectUri: string }) {
  return (
    <>
      <div className="q-field">
        <strong className="q-label">Redirect URI</strong>
        <Copyable text={redirectUri} label="redirect URI" />
        <div className="q-field__help">Enter it at the provider, letter by letter.</div>
      </div>
      <Line name="issuerUrl" label="Issuer" placeholder="https://sso.example.org/realms/main" help="As the provider writes it. /.well-known/openid-configuration beneath it must answer." />
      <div className="q-row">
        <Line name="clientId" label="Client ID" placeholder="quantix" />
        <Secret label="Client secret" help="It is never shown again." state={secret} />
      </div>
      <details className="q-more">
        <summary>What is asked for, and whose certificate it has</summary>
        <Line name="scopes" label="Scopes" help="Asked for beside openid, separated by spaces. Some providers tell groups only for the scope groups." />
        <div className="q-row">
          <Line name="nameClaim" label="Claim of the name" placeholder="preferred_username" optional />
          <Line name="groupsClaim" label="Claim of the groups" optional help="Empty: no group is read." />
        </div>
        <Lines name="caPem" label="Certificate authority" optional help={CA_HELP} rows={3} placeholder="-----BEGIN CERTIFICATE-----" />
      </details>
    </>
  );
}

const OTHER = "other";

export function LdapFields({ secret }: { secret: SecretState }) {
  const { control, watch, setValue } = useFormContext<SourceInput>();
  const values = watch();
  const template = templateOf(values);
  const needsTls = words(values.urls).some((url) => url.startsWith("ldap://"));
  const fill = (id: string) => {
    const fields = TEMPLATES.find((t) => t.id === id)?.fields;
    if (!fields) return;
    for (const [name, value] of Object.entries(fields)) setValue(name as TextName, value, { shouldDirty: true });
  };
  return (
    <>
      <SelectField
        label="Kind of directory"
        value={template?.id ?? OTHER}
        onChange={fill}
        help={template?.note ?? "Filters and attributes as they stand below."}
        options={[...TEMPLATES.map((t) => ({ value: t.id, label: t.label })), { value: OTHER, label: "Other", disabled: template !== undefined }]}
      />
      <Lines name="urls" label="Addresses" rows={2} placeholder="ldaps://ldap.example.org" help="One in each line; they are tried in this order." />
      {(needsTls || values.startTls) && (
        <Controller
          control={control}
          name="startTls"
          render={({ field }) => <Checkbox id="source-start-tls" label="StartTLS" description="Goes over to TLS on each ldap:// address before anything is said." isChecked={field.value} onChange={(_, on) => field.onChange(on)} />}
        />
      )}
      <div className="q-row">
        <Line name="bindDn" label="Who searches" optional placeholder="cn=quantix,dc=example,dc=org" help="Empty: searched without a name." />
        <Secret label="Its password" help="It is never shown again." state={secret} />
      </div>
      <div className="q-row">
        <Line name="userBase" label="People are beneath" placeholder="ou=people,dc=example,dc=org" />
        <Line name="groupBase" label="Groups are beneath" optional placeholder="ou=groups,dc=example,dc=org" help="Empty: no group is read." />
      </div>
      <details className="q-more" open={template === undefined || undefined}>
        <summary>Filters, attributes, and whose certificate it has</summary>
        <Line name="userFilter" label="Filter that finds a person" help="{name} stands for what they typed." />
        <div className="q-row">
          <Line name="idAttribute" label="Attribute that never changes" />
          <Line name="nameAttribute" label="Attribute of the name" />
        </div>
        <Line name="groupFilter" label="Filter that finds their groups" help="{dn} stands for the person's entry, {name} for what they typed." />
        <Line name="groupNameAttribute" label="Attribute that names a group" />
        <Lines name="caPem" label="Certificate authority" optional help={CA_HELP} rows={3} placeholder="-----BEGIN CERTIFICATE-----" />
      </details>
    </>
  );
}
