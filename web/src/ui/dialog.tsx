// A question or a form over the page: Esc closes, Enter submits.
import { Button, Checkbox, Modal, ModalBody, ModalFooter, ModalHeader, TextInput } from "@patternfly/react-core";
import { useId, useState, type FormEvent, type ReactNode } from "react";
import { FaultPanel, type FaultView } from "./fault";
import { InDialog } from "./tip";

export interface DialogProps {
  title: string;
  note?: ReactNode;
  submit?: string;
  busy?: boolean;
  danger?: boolean;
  disabled?: boolean;
  size?: "small" | "medium" | "large";
  fault?: FaultView;
  onSubmit?: () => void;
  onClose: () => void;
  closeLabel?: string;
  /** What it shows is shown once: it goes by its button only, not by Esc or a cross. */
  isSticky?: boolean;
  /** Nothing to fill in: Enter submits at once. */
  focusSubmit?: boolean;
  children?: ReactNode;
}

export function Dialog(props: DialogProps) {
  const id = useId();
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    event.stopPropagation();
    if (!props.busy && !props.disabled) props.onSubmit?.();
  };
  return (
    <Modal
      isOpen
      variant={props.size ?? "medium"}
      onClose={props.isSticky ? undefined : props.onClose}
      onEscapePress={props.isSticky ? () => {} : undefined}
      aria-labelledby={`${id}-title`}
      className="q-dialog"
      position="top"
      elementToFocus={props.focusSubmit ? `[id="${id}-submit"]` : undefined}
    >
      <InDialog value>
        <form onSubmit={onSubmit} noValidate className="q-dialog__form">
          <ModalHeader title={props.title} description={props.note} labelId={`${id}-title`} />
          <ModalBody>
            <div className="q-dialog__body">
              {props.children}
              {props.fault && <FaultPanel fault={props.fault} />}
            </div>
          </ModalBody>
          <ModalFooter>
            {props.submit && (
              <Button
                id={`${id}-submit`}
                type="submit"
                variant={props.danger ? "danger" : "primary"}
                isDisabled={props.busy || props.disabled}
                isLoading={props.busy}
              >
                {props.submit}
              </Button>
            )}
            {!props.isSticky && (
              <Button variant="link" onClick={props.onClose}>
                {props.closeLabel ?? "Cancel"}
              </Button>
            )}
          </ModalFooter>
        </form>
      </InDialog>
    </Modal>
  );
}

export interface ConfirmProps {
  title: string;
  verb: string;
  children?: ReactNode;
  /** Must be typed before the button works. */
  typedName?: string;
  option?: { label: string; note?: string };
  closeLabel?: string;
  danger?: boolean;
  busy?: boolean;
  fault?: FaultView;
  onConfirm: (option: boolean) => void;
  onClose: () => void;
}

/** Names the object and what follows; destroying asks for the name. */
export function Confirm(props: ConfirmProps) {
  const [typed, setTyped] = useState("");
  const [option, setOption] = useState(false);
  const id = useId();
  const blocked = props.typedName !== undefined && typed !== props.typedName;
  return (
    <Dialog
      title={props.title}
      size="small"
      submit={props.verb}
      danger={props.danger ?? true}
      busy={props.busy}
      disabled={blocked}
      fault={props.fault}
      onClose={props.onClose}
      closeLabel={props.closeLabel}
      focusSubmit={props.typedName === undefined}
      onSubmit={() => props.onConfirm(option)}
    >
      {props.children}
      {props.option && (
        <Checkbox
          id={`${id}-option`}
          label={props.option.label}
          description={props.option.note}
          isChecked={option}
          onChange={(_, on) => setOption(on)}
        />
      )}
      {props.typedName !== undefined && (
        <div className="q-field">
          <label htmlFor={`${id}-name`}>
            Type <strong>{props.typedName}</strong> to confirm
          </label>
          <TextInput id={`${id}-name`} value={typed} onChange={(_, v) => setTyped(v)} autoComplete="off" autoFocus />
        </div>
      )}
    </Dialog>
  );
}
