// The kit by itself: figures, ages, faults, confirmations, tables, disabled-with-reason.
import { render, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";
import { Confirm } from "./dialog";
import { FaultPanel, faultText, type FaultView } from "./fault";
import { ActionButton, allowedOf, Meter } from "./parts";
import { formatBytes, formatCount, formatRatio } from "./quantity";
import { Status, type Tone } from "./status";
import { DataTable, parseSort, printSort, sortRows, type Column } from "./table";
import { formatAge, formatDuration, Reported } from "./time";

describe("figures", () => {
  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1 KiB"],
    [1536, "1.5 KiB"],
    [344 * 1024 ** 2, "344 MiB"],
    [10.5 * 1024 ** 3, "10.5 GiB"],
    [100 * 1024 ** 3, "100 GiB"],
    [2n ** 63n, "8 EiB"],
  ])("%s bytes are %s", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  it("never shows a used thing as 0 %", () => {
    expect(formatRatio(0.001)).toBe("<1 %");
    expect(formatRatio(0)).toBe("0 %");
    expect(formatRatio(0.423)).toBe("42 %");
  });

  it("counts in words", () => {
    expect(formatCount(1, "VM")).toBe("1 VM");
    expect(formatCount(40_000, "VM")).toBe("40,000 VMs");
  });
});

describe("ages", () => {
  it.each([
    [500, "just now"],
    [12_000, "12 s ago"],
    [61_000, "1 min ago"],
    [3 * 3600_000, "3 h ago"],
    [50 * 3600_000, "2 d ago"],
  ])("%s ms is %s", (age, text) => expect(formatAge(1_000_000_000, 1_000_000_000 + age)).toBe(text));

  it("shows durations in two units at most", () => {
    expect(formatDuration(45_400)).toBe("45 s");
    expect(formatDuration(3_660_000)).toBe("1 h 1 min");
    expect(formatDuration(90_000_000)).toBe("1 d 1 h");
  });

  it("greys what a silent host said, and keeps the old value named as old", () => {
    render(
      <Reported at={Date.now() - 300_000} silent>
        37 %
      </Reported>,
    );
    expect(screen.getByText(/unknown since .* \(was/).textContent).toContain("37 %");
  });

  it("does not invent a value nobody reported", () => {
    render(
      <Reported at={undefined} silent={false}>
        0 %
      </Reported>,
    );
    expect(screen.getByText("not reported yet")).toBeTruthy();
    expect(screen.queryByText(/0 %/)).toBeNull();
  });
});

describe("status", () => {
  it("differs by shape, not only by colour", () => {
    const shapes = (["ok", "warn", "error", "work", "off", "unknown"] as Tone[]).map((tone) => {
      const { container, unmount } = render(<Status tone={tone} label={tone} />);
      const drawn = container.querySelector("svg")?.innerHTML;
      unmount();
      return drawn;
    });
    expect(new Set(shapes).size).toBe(shapes.length);
  });
});

const FAULT: FaultView = {
  code: "POOL_PATH_INVALID",
  message: "The pool's path cannot be used.",
  cause: "mkdir: No such file or directory (os error 2)",
  remedy: "Create the folder.",
  host: "host-1",
  phase: "prepare",
  reasons: [{ host: "host-2", reason: "silent" }],
  evidence: { url: "https://h:9443/x", httpStatus: 0, contentType: "", bodyStart: "<html>" },
};

describe("fault panel", () => {
  it("shows code, sentence, host, cause, remedy, reasons and evidence", () => {
    render(<FaultPanel fault={FAULT} />);
    const text = screen.getByRole("alert", { name: "Error POOL_PATH_INVALID" }).textContent ?? "";
    for (const part of [FAULT.message, FAULT.cause, FAULT.remedy, "host-1", "prepare", "host-2", "silent", "no HTTP answer", "<html>"]) expect(text).toContain(part);
  });

  it("retries, and copies everything it shows", async () => {
    const retry = vi.fn();
    const user = userEvent.setup();
    render(<FaultPanel fault={FAULT} onRetry={retry} />);
    await user.click(screen.getByRole("button", { name: "Try again" }));
    expect(retry).toHaveBeenCalledOnce();
    await user.click(screen.getByRole("button", { name: "Copy details" }));
    expect(await navigator.clipboard.readText()).toBe(faultText(FAULT));
    expect(faultText(FAULT)).toContain("Remedy: Create the folder.");
  });
});

describe("actions", () => {
  it("keeps a refused action visible, with its reason", async () => {
    const run = vi.fn();
    const user = userEvent.setup();
    render(
      <ActionButton action={{ verb: "start", allowed: false, reasonIfNot: "It is running already." }} onClick={run}>
        Start
      </ActionButton>,
    );
    const button = screen.getByRole("button", { name: "Start" });
    expect(button.getAttribute("aria-disabled")).toBe("true");
    await user.hover(button);
    expect(await screen.findByText("It is running already.")).toBeTruthy();
    await user.click(button);
    expect(run).not.toHaveBeenCalled();
  });

  it("offers nothing the API did not name", () => {
    expect(allowedOf([], "delete").allowed).toBe(false);
  });
});

const refused = (verb: string) => ({ verb, allowed: false, reasonIfNot: `No ${verb} now.` });

describe("confirmation", () => {
  it("destroys only after the name was typed", async () => {
    const confirm = vi.fn();
    const user = userEvent.setup();
    render(<Confirm title='Delete VM "web-1"?' verb="Delete VM" typedName="web-1" option={{ label: "Delete its disks too" }} onConfirm={confirm} onClose={() => {}} />);
    const button = screen.getByRole<HTMLButtonElement>("button", { name: "Delete VM" });
    expect(button.disabled).toBe(true);
    const name = screen.getByLabelText(/to confirm/);
    await user.type(name, "web-2{Enter}");
    expect(confirm).not.toHaveBeenCalled();
    await user.clear(name);
    await user.type(name, "web-1{Enter}");
    expect(confirm).toHaveBeenCalledWith(false);
  });

  it("hides the tips of the page it covers, not its own", async () => {
    const user = userEvent.setup();
    render(
      <>
        <ActionButton action={refused("start")} onClick={() => {}}>
          Start
        </ActionButton>
        <Confirm title="Stop?" verb="Stop" onConfirm={() => {}} onClose={() => {}}>
          <ActionButton action={refused("wait")} onClick={() => {}}>
            Wait
          </ActionButton>
        </Confirm>
      </>,
    );
    // The style sheet shows only those inside while a dialog is there.
    await user.hover(screen.getByText("Start"));
    expect((await screen.findByText("No start now.")).closest(".q-tip")?.className).not.toContain("q-tip--inside");
    await user.hover(screen.getByText("Wait"));
    expect((await screen.findByText("No wait now.")).closest(".q-tip")?.className).toContain("q-tip--inside");
  });

  it("closes with Esc", async () => {
    const close = vi.fn();
    const user = userEvent.setup();
    render(<Confirm title="Stop?" verb="Stop" onConfirm={() => {}} onClose={close} />);
    await user.keyboard("{Escape}");
    expect(close).toHaveBeenCalled();
  });
});

interface Row {
  id: string;
  size: number;
}
const COLUMNS: Column<Row>[] = [
  { id: "id", header: "Name", cell: (r) => r.id, sort: (r) => r.id },
  { id: "size", header: "Size", cell: (r) => r.size, sort: (r) => r.size, numeric: true },
];

describe("table", () => {
  const rows: Row[] = [
    { id: "vm-10", size: 3 },
    { id: "vm-9", size: 7 },
  ];

  it("sorts numbers in names as numbers", () => {
    expect(sortRows(rows, COLUMNS, { id: "id", descending: false }).map((r) => r.id)).toEqual(["vm-9", "vm-10"]);
    expect(sortRows(rows, COLUMNS, parseSort("-size")).map((r) => r.size)).toEqual([7, 3]);
    expect(printSort({ id: "size", descending: true })).toBe("-size");
  });

  it("does not sort half a list as if it were the whole", () => {
    render(<DataTable label="VMs" rows={rows} columns={COLUMNS} rowId={(r) => r.id} rowName={(r) => r.id} empty={null} sort={{ id: "id", descending: false }} onSort={() => {}} hasMore total={500} />);
    const cells = within(screen.getByRole("table", { name: "VMs" })).getAllByRole("row");
    expect(cells[1]?.textContent).toContain("vm-10");
    expect(screen.queryByRole("button", { name: "Name" })).toBeNull();
    expect(screen.getByText(/2 of 500 rows/)).toBeTruthy();
  });

  it("leaves the order to the server where that has it, also while half is loaded", () => {
    const sort = vi.fn();
    render(<DataTable label="VMs" rows={rows} columns={COLUMNS} rowId={(r) => r.id} rowName={(r) => r.id} empty={null} sort={{ id: "size", descending: true }} onSort={sort} orders={{ size: 1 }} hasMore total={500} />);
    expect(within(screen.getByRole("table", { name: "VMs" })).getAllByRole("row")[1]?.textContent).toContain("vm-10");
    screen.getByRole("button", { name: /Size/ }).click();
    expect(sort).toHaveBeenCalledWith({ id: "size", descending: false });
    expect(screen.queryByRole("button", { name: "Name" })).toBeNull();
    expect(screen.queryByText(/sorting starts/)).toBeNull();
  });

  it("counts as people do where the whole list is here", () => {
    const named: Column<Row>[] = [{ id: "name", header: "Name", cell: (r) => r.id, sort: (r) => r.id }];
    render(<DataTable label="VMs" rows={rows} columns={named} rowId={(r) => r.id} rowName={(r) => r.id} empty={null} orders={{ name: 1 }} total={2} />);
    expect(within(screen.getByRole("table", { name: "VMs" })).getAllByRole("row")[1]?.textContent).toContain("vm-9");
  });

  it("shows the error instead of an empty list", () => {
    render(<DataTable label="VMs" rows={undefined} columns={COLUMNS} rowId={(r) => r.id} rowName={(r) => r.id} empty="nothing" fault={FAULT} />);
    expect(screen.getByRole("alert")).toBeTruthy();
    expect(screen.queryByText("nothing")).toBeNull();
  });

  it("says how full something is to those who do not see", () => {
    render(<Meter label="Memory" used={50} total={200} text="50 of 200" />);
    expect(screen.getByRole("meter", { name: "Memory" }).getAttribute("aria-valuenow")).toBe("25");
  });
});
