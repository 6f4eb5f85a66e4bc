// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/report"
)

// reportFlags are the flags of halfclose report.
type reportFlags struct {
	to        string
	addresses bool // redact them
	hostRoot  string
	confDir   string
}

func reportCommand(e *env) *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Write an archive for a bug report, without secrets",
		Long: `Write a tar.gz archive for a bug report: status, sockets with owners, history,
mode, flags, metrics, the doctor's findings, policy file, records, CNI
configurations, versions, and the kernel settings that matter. Without a running
reaper, and if a part cannot be read, it has the rest.

In CNI configurations each value of a foreign plugin that may be a secret is
redacted. Names of pods and programs stay. IP addresses stay unless
--redact-addresses replaces each by a name, the same one throughout. The command
prints what it wrote and what it left out: look through it before you send it.`,
		Example: `  halfclose report
  halfclose report --redact-addresses --output-file /tmp/report.tar.gz
  kubectl exec -n kube-system POD -- halfclose report --output-file - > r.tar.gz`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.report(cmd.Context(), f) },
	}
	cmd.Flags().StringVar(&f.to, "output-file", "", "write to `FILE`, which must not exist, or - for stdout (default: halfclose-report-TIME.tar.gz)")
	cmd.Flags().BoolVar(&f.addresses, "redact-addresses", false, "replace IP and MAC addresses by names")
	cmd.Flags().StringVar(&f.hostRoot, "host-root", e.Getenv("HALFCLOSE_HOST_ROOT"), "`dir` where the host's root is mounted in this container (HALFCLOSE_HOST_ROOT)")
	cmd.Flags().StringVar(&f.confDir, "cni-conf-dir", spec.DefaultConfDir, "`dir` of the runtime's network configurations, on the host")
	_ = cmd.MarkFlagFilename("output-file", "tar.gz") // the flag exists
	return cmd
}

// report writes the archive, and prints what it has.
func (e *env) report(ctx context.Context, f reportFlags) (err error) {
	at := time.Now().UTC()
	name := "halfclose-report-" + at.Format("20060102T150405Z")
	out, info := e.Out, e.Out
	switch f.to {
	case "-":
		info = e.err
	default:
		if f.to == "" {
			f.to = name + ".tar.gz"
		}
		file, err := os.OpenFile(f.to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("create the archive: %w (name another with --output-file)", err)
		}
		defer func() {
			if e := file.Close(); err == nil {
				err = e
			}
		}()
		out = file
	}
	var redact func([]byte) []byte
	if f.addresses {
		redact = new(report.Addresses).Redact
	}
	b := report.NewBundle(out, name, at, redact)
	progress := e.progress()
	for _, p := range e.reportParts(f) {
		if err := ctx.Err(); err != nil {
			return err
		}
		progress(p.name)
		if err := p.add(ctx, b); err != nil {
			return err
		}
	}
	b.Omit("secrets", "environments and command lines of processes, packet contents, values of foreign CNI plugins that may be secret")
	if !f.addresses {
		b.Omit("redaction of IP addresses", "--redact-addresses replaces them by names")
	}
	if err := b.Close(); err != nil {
		return err
	}
	has, lacks := b.Contents()
	if f.to != "-" {
		fmt.Fprintf(info, "wrote %s\n", safetext.Escape(f.to))
	}
	for _, line := range has {
		fmt.Fprintf(info, "  has    %s\n", safetext.Escape(line))
	}
	for _, line := range lacks {
		fmt.Fprintf(info, "  lacks  %s\n", safetext.Escape(line))
	}
	return nil
}

// progressAfter is the time after which report prints its current part on stderr.
const progressAfter = 2 * time.Second

// progress returns a function that prints the current part on stderr if the command takes long.
func (e *env) progress() func(name string) {
	began := time.Now()
	return func(name string) {
		if time.Since(began) > progressAfter {
			e.note("collecting %s", name)
		}
	}
}

// reportPart is a part of a report. add returns errors of writing the archive alone; it omits what cannot be read.
type reportPart struct {
	name string
	add  func(ctx context.Context, b *report.Bundle) error
}

// reportPartLimit bounds the time of one part.
const reportPartLimit = 15 * time.Second

// maxReportFile bounds each file that a report copies.
const maxReportFile = 4 << 20

// reportParts lists the parts of a report.
func (e *env) reportParts(f reportFlags) []reportPart {
	parts := []reportPart{
		e.commandPart("version.json", "version", "-o", "json"),
		{"system.txt", func(_ context.Context, b *report.Bundle) error { return b.Add("system.txt", systemText(f.hostRoot)) }},
		e.commandPart("mode.json", "mode", "-o", "json"),
		e.commandPart("config.json", "config", "-o", "json"),
		e.commandPart("status.json", "status", "-o", "json"),
		e.commandPart("sockets.json", "sockets", "--owners", "-o", "json"),
		e.commandPart("history.json", "history", "-o", "json"),
		{"metrics.txt", func(ctx context.Context, b *report.Bundle) error { return e.addMetrics(ctx, b) }},
		e.commandPart("doctor.json", "doctor", "-o", "json", "--host-root", f.hostRoot, "--cni-conf-dir", f.confDir),
		{"policy file", func(ctx context.Context, b *report.Bundle) error { return e.addPolicyFile(ctx, b) }},
		{"records", func(_ context.Context, b *report.Bundle) error {
			dir := e.store().AttachmentsDir()
			if err := addDir(b, "records", dir, nil); err != nil {
				return err
			}
			return errors.Join(addFile(b, "switch.json", e.switchPath()), addFile(b, "reaper.log", e.store().LogPath()))
		}},
		{"CNI configurations", func(_ context.Context, b *report.Bundle) error { return addConfs(b, hostfs.Dir(f.hostRoot), f.confDir) }},
	}
	return parts
}

// commandPart is a file with the output of a command of halfclose. If the command fails, its output is kept too.
func (e *env) commandPart(name string, args ...string) reportPart {
	return reportPart{name, func(ctx context.Context, b *report.Bundle) error {
		ctx, cancel := context.WithTimeout(ctx, reportPartLimit)
		defer cancel()
		var out, problems bytes.Buffer
		code := run(ctx, append(args, "--state-dir", e.stateDir), &env{Printer: printer.Printer{Out: &out, Getenv: e.Getenv, Now: e.Now}, err: &problems})
		if text := strings.TrimSpace(problems.String()); text != "" && (code != cmdline.Success || out.Len() == 0) {
			b.Omit(name, text)
		}
		if out.Len() == 0 {
			return nil
		}
		return b.Add(name, out.Bytes())
	}}
}

// addMetrics adds the metrics of a running reaper.
func (e *env) addMetrics(ctx context.Context, b *report.Bundle) error {
	client, err := e.client()
	var text []byte
	if err == nil {
		text, err = client.Metrics(ctx)
	}
	if err != nil {
		b.Omit("metrics.txt", err.Error())
		return nil
	}
	return b.Add("metrics.txt", text)
}

// addPolicyFile adds the policy file of a running reaper, or that at the default path, and the problems in it.
func (e *env) addPolicyFile(ctx context.Context, b *report.Bundle) error {
	path := policyfile.DefaultPath
	if client, err := e.client(); err == nil {
		if cfg, err := client.Config(ctx); err == nil {
			for _, flag := range cfg.Flags {
				if flag.Name == "policy-file" && flag.Value != "" {
					path = flag.Value
				}
			}
		}
	}
	data, err := hostfs.ReadFile(path, maxReportFile, 0)
	if err != nil {
		b.Omit("policy.yaml", err.Error())
		return nil
	}
	if err := b.Add("policy.yaml", data); err != nil {
		return err
	}
	var problems bytes.Buffer
	_ = run(ctx, []string{"policy", "check", path, "--state-dir", e.stateDir}, &env{Printer: printer.Printer{Out: &problems, Getenv: e.Getenv}, err: &problems})
	return b.Add("policy-check.txt", problems.Bytes())
}

// addFile adds a file, unless there is none.
func addFile(b *report.Bundle, name, path string) error {
	data, err := hostfs.ReadFile(path, maxReportFile, unix.O_NOFOLLOW)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		b.Omit(name, err.Error())
		return nil
	}
	return b.Add(name, data)
}

// maxReportFiles bounds the files of a directory.
const maxReportFiles = 2000

// addDir adds the regular files of a directory, changed by redact unless it is nil.
func addDir(b *report.Bundle, name, dir string, redact func(file string, data []byte) ([]byte, error)) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.Omit(name, err.Error())
		return nil
	}
	if more := len(entries) - maxReportFiles; more > 0 {
		b.Omit(name, fmt.Sprintf("%d of %d files in %s", more, len(entries), dir))
		entries = entries[:maxReportFiles]
	}
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		at := name + "/" + entry.Name()
		data, err := hostfs.ReadFile(filepath.Join(dir, entry.Name()), maxReportFile, 0)
		if err == nil && redact != nil {
			data, err = redact(at, data)
		}
		if err != nil {
			b.Omit(at, err.Error())
			continue
		}
		if err := b.Add(at, data); err != nil {
			return err
		}
	}
	return nil
}

// addConfs adds the CNI configurations with what may be a secret redacted.
func addConfs(b *report.Bundle, root hostfs.Dir, confDir string) error {
	return addDir(b, "cni", filepath.Join(string(root), "/", confDir), func(file string, data []byte) ([]byte, error) {
		text, keys, err := report.NetworkConf(data, spec.PluginType)
		if err != nil {
			return nil, fmt.Errorf("%w: it may have secrets anywhere", err)
		}
		if len(keys) > 0 {
			b.Omit(file, "the values of "+strings.Join(keys, ", "))
		}
		return text, nil
	})
}

// systemText returns the versions and settings of the kernel and of the distribution. It names each unreadable file.
func systemText(hostRoot string) []byte {
	var b bytes.Buffer
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil { // without the name of the node
		fmt.Fprintf(&b, "kernel: %s %s %s\n", unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]), unix.ByteSliceToString(u.Machine[:]))
	}
	for _, path := range []string{
		filepath.Join(hostRoot, "/etc/os-release"),
		"/proc/sys/net/ipv4/tcp_fin_timeout", "/proc/sys/net/ipv4/tcp_keepalive_time", "/proc/sys/net/ipv4/tcp_keepalive_intvl",
		"/proc/sys/net/ipv4/tcp_keepalive_probes", "/proc/sys/net/ipv4/tcp_max_orphans", "/proc/sys/net/ipv4/tcp_orphan_retries",
		"/proc/sys/net/ipv4/tcp_child_ehash_entries", "/proc/sys/net/ipv4/tcp_retries2",
		"/proc/sys/kernel/yama/ptrace_scope", "/proc/sys/kernel/unprivileged_bpf_disabled", "/proc/sys/net/core/bpf_jit_enable",
		"/proc/sys/kernel/pid_max", "/proc/sys/fs/nr_open", "/proc/sys/fs/file-nr", "/sys/kernel/security/lsm", "/sys/kernel/security/lockdown",
		"/proc/self/status", "/proc/net/sockstat", "/proc/net/sockstat6",
	} {
		data, err := hostfs.ReadFile(path, 64<<10, 0)
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", path, err)
			continue
		}
		text := strings.TrimSpace(string(data))
		if strings.Contains(text, "\n") {
			text = "\n    " + strings.ReplaceAll(text, "\n", "\n    ")
		}
		fmt.Fprintf(&b, "%s: %s\n", path, text)
	}
	for _, ns := range []string{"cgroup", "mnt", "net", "pid", "user"} {
		target, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			target = err.Error()
		}
		fmt.Fprintf(&b, "own %s namespace: %s\n", ns, target)
	}
	return b.Bytes()
}
