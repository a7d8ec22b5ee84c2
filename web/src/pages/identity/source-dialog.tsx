// Adding a provider or directory, and changing one. It can be tested as it is being typed.
import { zodResolver } from "@hookform/resolvers/zod";
import { Button, Checkbox } from "@patternfly/react-core";
import { useState } from "react";
import { Controller, FormProvider, useForm } from "react-hook-form";
import { useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { IdentityService, type IdentitySource } from "../../api/gen/quantix/identity/v1/identity_pb";
import { Dialog } from "../../ui/dialog";
import type { FaultView } from "../../ui/fault";
import { SelectField, TextField } from "../../ui/field";
import { LdapFields, OidcFields } from "./config-fields";
import { RulesField } from "./rules-field";
import { inputOf, isMoved, NEW_SOURCE, sourceRule, wishOf, type SourceInput, type SourceValues } from "./source-form";
import { TestOutcome, useTest } from "./test-source";
import { KINDS, type Kind } from "./words";

interface Props {
  /** Absent: a new one. */
  source?: IdentitySource;
  redirectUri: string;
  onDone: () => void;
  onClose: () => void;
}

const KIND_NOTES: Record<Kind, string> = {
  oidc: "The browser goes to the provider and comes back signed in: Keycloak, Entra ID, Google, and others.",
  ldap: "Name and password are typed here and shown to the directory: OpenLDAP, Active Directory, and others.",
};

export function SourceDialog({ source, redirectUri, onDone, onClose }: Props) {
  const client = useClient(IdentityService);
  const { busy: testing, outcome, test } = useTest();
  const [fault, setFault] = useState<FaultView>();
  const form = useForm<SourceInput, unknown, SourceValues>({ resolver: zodResolver(sourceRule), defaultValues: source ? inputOf(source) : NEW_SOURCE });
  const { errors, isSubmitting } = form.formState;
  const kind = form.watch("kind");
  const secret = { kept: source?.hasSecret ?? false, moved: source !== undefined && isMoved(source, form.watch()) };
  const save = form.handleSubmit(async (values) => {
    setFault(undefined);
    try {
      const wish = wishOf(values);
      if (source) await client.updateIdentitySource({ id: source.id, generation: source.generation, source: wish });
      else await client.createIdentitySource({ source: wish });
      onDone();
      onClose();
    } catch (error) {
      setFault(faultOf(error));
    }
  });
  // Titles and rules are nothing to a test, but what cannot be sent cannot be tested.
  const tryIt = form.handleSubmit((values) => test(source?.id ?? "", wishOf(values)));
  return (
    <Dialog
      title={source ? `Change "${source.title}"` : "Add provider or directory"}
      submit={source ? "Save changes" : "Add"}
      busy={isSubmitting && !testing}
      disabled={testing}
      fault={fault}
      onSubmit={() => void save()}
      onClose={onClose}
    >
      <FormProvider {...form}>
        {!source && (
          <Controller
            control={form.control}
            name="kind"
            render={({ field }) => (
              <SelectField label="Kind" value={field.value} onChange={field.onChange} help={KIND_NOTES[kind]} options={Object.entries(KINDS).map(([value, label]) => ({ value, label }))} />
            )}
          />
        )}
        <TextField label="Title" help="What the sign-in page calls it." error={errors.title?.message} autoFocus autoComplete="off" {...form.register("title")} />
        {kind === "oidc" ? <OidcFields secret={secret} redirectUri={redirectUri} /> : <LdapFields secret={secret} />}
        <div className="q-actions">
          <Button variant="secondary" size="sm" isLoading={testing} isDisabled={testing} onClick={() => void tryIt()}>
            Test
          </Button>
          <span className="q-small">Reaches it now, as it stands here. Nothing is saved.</span>
        </div>
        <TestOutcome busy={testing} outcome={outcome} />
        <RulesField />
        <Controller
          control={form.control}
          name="createUsers"
          render={({ field }) => (
            <Checkbox
              id="source-create-users"
              label="Let in whoever it knows"
              description="Who signs in for the first time becomes a user here. Else only those get in who are here already."
              isChecked={field.value}
              onChange={(_, on) => field.onChange(on)}
            />
          )}
        />
        <Controller
          control={form.control}
          name="enabled"
          render={({ field }) => (
            <Checkbox id="source-enabled" label="Turned on" description="The sign-in page offers it." isChecked={field.value} onChange={(_, on) => field.onChange(on)} />
          )}
        />
      </FormProvider>
    </Dialog>
  );
}
