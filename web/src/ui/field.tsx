// One line of a form: label, control, help, and what is wrong with it.
import { FormSelect, FormSelectOption, TextInput } from "@patternfly/react-core";
import { useId, type ComponentProps, type ReactNode } from "react";

export interface FieldProps {
  label: string;
  help?: ReactNode;
  error?: string;
  optional?: boolean;
  children: (ids: { id: string; "aria-describedby": string | undefined; validated: "error" | "default" }) => ReactNode;
}

export function Field({ label, help, error, optional, children }: FieldProps) {
  const id = useId();
  const described = error || help ? `${id}-help` : undefined;
  return (
    <div className="q-field">
      <label htmlFor={id}>
        {label}
        {optional && <span className="q-muted"> (optional)</span>}
      </label>
      {children({ id, "aria-describedby": described, validated: error ? "error" : "default" })}
      {(error || help) && (
        <div id={described} className={error ? "q-field__error" : "q-field__help"}>
          {error ?? help}
        </div>
      )}
    </div>
  );
}

type TextFieldProps = Omit<FieldProps, "children"> & Omit<ComponentProps<typeof TextInput>, "ref" | "label" | "id">;

export function TextField({ label, help, error, optional, ...input }: TextFieldProps) {
  return (
    <Field label={label} help={help} error={error} optional={optional}>
      {(ids) => <TextInput {...input} {...ids} />}
    </Field>
  );
}

type SelectFieldProps = Omit<FieldProps, "children"> & {
  value: string;
  onChange: (value: string) => void;
  options: { value: string; label: string; disabled?: boolean }[];
  isDisabled?: boolean;
};

export function SelectField({ label, help, error, optional, value, onChange, options, isDisabled }: SelectFieldProps) {
  return (
    <Field label={label} help={help} error={error} optional={optional}>
      {(ids) => (
        <FormSelect {...ids} value={value} isDisabled={isDisabled} onChange={(_, v) => onChange(v)}>
          {options.map((o) => (
            <FormSelectOption key={o.value} value={o.value} label={o.label} isDisabled={o.disabled} />
          ))}
        </FormSelect>
      )}
    </Field>
  );
}
