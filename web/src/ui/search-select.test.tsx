// The searching field by itself: keys, empty, waiting and refused.
import { render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useEffect, useState } from "react";
import { expect, it, vi } from "vitest";
import { expectAccessible } from "../testing/accessible";
import { Dialog } from "./dialog";
import { SearchSelect, SHUT, type Choice, type Found } from "./search-select";

const POOLS: Choice[] = [
  { id: "1", name: "main" },
  { id: "2", name: "mirror", note: "on host-2" },
  { id: "3", name: "attic", note: "is full", disabled: true },
];

interface FieldProps {
  onAsk: (text: string) => void;
  onSubmit: () => void;
  onClose: () => void;
  answer?: Partial<Found>;
}

function Field({ onAsk, onSubmit, onClose, answer }: FieldProps) {
  const [search, setSearch] = useState(SHUT);
  const [value, setValue] = useState<Choice>();
  useEffect(() => {
    if (search.isOpen) onAsk(search.text);
  }, [search, onAsk]);
  const rows = POOLS.filter((p) => p.name.includes(search.text));
  const found: Found = { rows, total: rows.length, again: () => {}, ...answer };
  return (
    <Dialog title="Choose" submit="Go" onSubmit={onSubmit} onClose={onClose}>
      <SearchSelect label="Pool" value={value} onChange={setValue} search={search} onSearch={setSearch} found={found} none="There is no pool yet." />
      <output>{value ? `chosen ${value.id}` : "nothing chosen"}</output>
    </Dialog>
  );
}

function show(answer?: Partial<Found>) {
  const told = { onAsk: vi.fn(), onSubmit: vi.fn(), onClose: vi.fn() };
  render(<Field {...told} answer={answer} />);
  return { ...told, user: userEvent.setup(), input: screen.getByRole<HTMLInputElement>("combobox", { name: "Pool" }) };
}

it("asks for nothing until it is opened, and finds as one types", async () => {
  const { onAsk, user, input } = show();
  expect(input.getAttribute("aria-expanded")).toBe("false");
  expect(onAsk).not.toHaveBeenCalled();
  await user.type(input, "mi");
  await waitFor(() => expect(onAsk).toHaveBeenLastCalledWith("mi"));
  expect(screen.getAllByRole("option").map((o) => o.textContent)).toEqual(["mirror on host-2"]);
  await expectAccessible(document.body);
  await user.click(screen.getByRole("option"));
  expect(screen.getByText("chosen 2")).toBeTruthy();
  expect(input.value).toBe("mirror");
  expect(screen.queryByRole("listbox")).toBeNull();
});

it("is walked with arrows; Enter takes and Escape shuts without touching the dialog", async () => {
  const { onSubmit, onClose, user, input } = show();
  input.focus();
  await user.keyboard("{ArrowDown}");
  const options = within(screen.getByRole("listbox", { name: "Pool" })).getAllByRole("option");
  const active = () => input.getAttribute("aria-activedescendant");
  expect(active()).toBe(options[0]?.id);
  await user.keyboard("{ArrowDown}");
  expect(active()).toBe(options[1]?.id);
  await user.keyboard("{ArrowUp}{ArrowUp}");
  expect(active()).toBe(options[2]?.id);
  // What cannot be had is not taken.
  await user.keyboard("{Enter}");
  expect(screen.getByText("nothing chosen")).toBeTruthy();
  await user.keyboard("{Escape}");
  expect(screen.queryByRole("listbox")).toBeNull();
  expect(onSubmit).not.toHaveBeenCalled();
  expect(onClose).not.toHaveBeenCalled();
  await user.keyboard("{ArrowDown}{Enter}");
  expect(screen.getByText("chosen 1")).toBeTruthy();
  // Once the list is shut the keys are the dialog's again.
  await user.keyboard("{Enter}");
  expect(onSubmit).toHaveBeenCalledOnce();
  await user.keyboard("{Escape}");
  expect(onClose).toHaveBeenCalledOnce();
});

it("never shows a name that is not the choice", async () => {
  const { user, input } = show();
  await user.click(input);
  await user.click(screen.getByRole("option", { name: "main" }));
  await user.type(input, "x");
  expect(screen.getByText("nothing chosen")).toBeTruthy();
  expect(await screen.findByText(/in its name/)).toBeTruthy();
  await user.tab();
  expect(input.value).toBe("");
  expect(screen.queryByRole("listbox")).toBeNull();
});

it("says that nothing is there", async () => {
  const { user, input } = show({ rows: [], total: 0 });
  await user.click(input);
  expect(screen.getByText("There is no pool yet.")).toBeTruthy();
});

it("says that it waits", async () => {
  const { user, input } = show({ rows: undefined });
  await user.click(input);
  expect(screen.getByText("Looking…").getAttribute("role")).toBe("status");
});

it("says that there is more than it shows", async () => {
  const { user, input } = show({ total: 1203 });
  await user.click(input);
  expect(screen.getByText("and 1,200 more: type a part of the name.")).toBeTruthy();
});

it("says why it was refused, and asks again", async () => {
  const again = vi.fn();
  const { user, input } = show({ rows: undefined, fault: { code: "FORBIDDEN", message: "You may not see pools here.", remedy: "Ask an administrator." }, again });
  await user.click(input);
  expect(screen.getByRole("alert").textContent).toContain("You may not see pools here. Ask an administrator.");
  await user.click(screen.getByRole("button", { name: "Try again" }));
  expect(again).toHaveBeenCalledOnce();
});
