// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/test/kernels/plan"
)

// silence is the time without an event after which a machine counts as hung. A test that waits in vain ends earlier.
const silence = 10 * time.Minute

// machine is an emulated machine.
type machine struct {
	cpus          int
	kernel, image string
	console       string // the file for the kernel's messages
}

// run boots the machine, and returns its events, which it also copies to a file. fault is why the machine has not finished
// its plan, "" if it has.
func (m machine) run(ctx context.Context, copyTo string) (events []plan.Event, fault string, err error) {
	kept, err := os.Create(copyTo)
	if err != nil {
		return nil, "", err
	}
	defer kept.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", strconv.Itoa(m.cpus), "-m", "3072",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", m.kernel, "-initrd", m.image,
		// A kernel that panics restarts at once, and with -no-reboot the emulator exits.
		"-append", "console=ttyS0 loglevel=5 panic=-1 oops=panic reboot=t no_timer_check mitigations=off tsc=reliable",
		"-serial", "file:"+m.console,
		"-chardev", "stdio,id=report,signal=off", "-serial", "chardev:report",
	)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	report, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("start the emulator: %w", err)
	}
	watchdog := time.AfterFunc(silence, func() { cancel() })
	events, garbled := readEvents(io.TeeReader(report, kept), func() { watchdog.Reset(silence) })
	hung := !watchdog.Stop()
	err = cmd.Wait()
	return events, m.fault(events, garbled, hung, err, stderr.String()), nil
}

// readEvents reads events until the end, and calls seen for each. garbled is the first line that is none.
func readEvents(from io.Reader, seen func()) (events []plan.Event, garbled string) {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e plan.Event
			if json.Unmarshal([]byte(line), &e) == nil && e.Kind != "" {
				events = append(events, e)
				seen()
			} else if garbled == "" {
				garbled = line
			}
		}
		if err != nil {
			return events, garbled
		}
	}
}

// fault returns why a machine has not finished its plan, or what its kernel has reported.
func (m machine) fault(events []plan.Event, garbled string, hung bool, exit error, stderr string) string {
	console, err := os.ReadFile(m.console)
	if err != nil {
		return errors.Join(fmt.Errorf("no console: %s", stderr), exit, err).Error()
	}
	finished := len(events) > 0 && events[len(events)-1].Kind == plan.Finished
	complaint := complaintOf(string(console))
	switch where := whereabouts(events); {
	case complaint != "" && !finished:
		return fmt.Sprintf("the kernel panicked %s: %s", where, complaint)
	case hung:
		return fmt.Sprintf("the machine hung: no event for %v %s", silence, where)
	case garbled != "":
		return fmt.Sprintf("the machine reported a line that is no event: %.200q", garbled)
	case !finished:
		return fmt.Sprintf("the machine stopped %s: %v %s: see %s", where, exit, stderr, m.console)
	case complaint != "":
		return "the kernel reported: " + complaint
	}
	return ""
}

// whereabouts returns how far a machine came.
func whereabouts(events []plan.Event) string {
	if len(events) == 0 {
		return "before its first process ran"
	}
	running := ""
	for _, e := range events {
		switch e.Kind {
		case plan.Started:
			running = e.Step
		case plan.Ended:
			running = ""
		}
	}
	if running == "" {
		return "between its steps"
	}
	return "in " + running
}

// complaints are the beginnings of what a kernel reports about its own mistakes.
func complaints() []string {
	return []string{"Kernel panic", "BUG:", "kernel BUG at", "Oops:", "WARNING: CPU", "WARNING: at ", "general protection fault", "unregister_netdevice: waiting"}
}

// complaintOf returns the first line of the console that reports a mistake of the kernel, "" if there is none. A CPU of
// the emulator may not run for a while, which is none: "BUG: soft lockup" and "BUG: workqueue lockup".
func complaintOf(console string) string {
	for line := range strings.Lines(console) {
		if strings.Contains(line, "lockup") {
			continue
		}
		for _, c := range complaints() {
			if strings.Contains(line, c) {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}
