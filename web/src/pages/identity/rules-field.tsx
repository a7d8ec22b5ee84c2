// Which group brings which role, and which role everybody of the source has.
import { Button, FormSelect, FormSelectOption, TextInput } from "@patternfly/react-core";
import { Controller, useFieldArray, useFormContext } from "react-hook-form";
import { SelectField } from "../../ui/field";
import { useRoles } from "../role/words";
import type { SourceInput } from "./source-form";

export function RulesField() {
  const { control, register, formState } = useFormContext<SourceInput>();
  const { fields, append, remove } = useFieldArray({ control, name: "rules" });
  const roles = useRoles().data?.roles ?? [];
  const errors = formState.errors.rules;
  return (
    <fieldset className="q-part-box">
      <legend>What they may</legend>
      <p className="q-small">Roles here count on everything and are made so at each sign-in. Roles that were given by hand stay. Nobody gives what they do not have themselves.</p>
      <Controller
        control={control}
        name="defaultRole"
        render={({ field }) => (
          <SelectField
            label="Everybody who signs in with it has"
            value={field.value}
            onChange={field.onChange}
            options={[{ value: "", label: "no role" }, ...roles.map((r) => ({ value: r.id, label: `the role ${r.name}` }))]}
          />
        )}
      />
      {fields.map((row, i) => (
        <div key={row.id} className="q-rule" role="group" aria-label={`Rule ${i + 1}`}>
          <div className="q-field">
            <TextInput aria-label={`Group of rule ${i + 1}`} placeholder="Group, as it is called there" validated={errors?.[i]?.group ? "error" : "default"} autoComplete="off" spellCheck={false} {...register(`rules.${i}.group`)} />
            {errors?.[i]?.group && <div className="q-field__error">{errors[i].group.message}</div>}
          </div>
          <span aria-hidden="true">brings</span>
          <div className="q-field">
            <Controller
              control={control}
              name={`rules.${i}.role`}
              render={({ field }) => (
                <FormSelect aria-label={`Role of rule ${i + 1}`} value={field.value} validated={errors?.[i]?.role ? "error" : "default"} onChange={(_, role) => field.onChange(role)}>
                  <FormSelectOption value="" label="Choose a role" isDisabled />
                  {roles.map((r) => (
                    <FormSelectOption key={r.id} value={r.id} label={r.name} />
                  ))}
                </FormSelect>
              )}
            />
            {errors?.[i]?.role && <div className="q-field__error">{errors[i].role.message}</div>}
          </div>
          <Button variant="link" size="sm" isInline onClick={() => remove(i)} aria-label={`Remove rule ${i + 1}`}>
            Remove
          </Button>
        </div>
      ))}
      <div className="q-actions">
        <Button variant="secondary" size="sm" onClick={() => append({ group: "", role: "" })}>
          Add rule
        </Button>
      </div>
    </fieldset>
  );
}
