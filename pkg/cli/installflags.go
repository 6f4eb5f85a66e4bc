// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/install"
	"github.com/halfclose/halfclose/pkg/logging"
	"github.com/halfclose/halfclose/pkg/pluginbuild"
)

// installFlags are the flags of halfclose install.
type installFlags struct {
	node       nodeFlags
	configFile string
	plugin     string
	copy       bool
	dropIn     bool
	watch      bool
	upgrade    bool
	wait       time.Duration
	logFormat  string
}

func (f *installFlags) add(cmd *cobra.Command) {
	f.node.add(cmd)
	addPolicyFlags(cmd, entryFlags())
	flags := cmd.Flags()
	flags.StringVar(&f.configFile, "config", "", "the `file` with the plugin's object as JSON, instead of the flags above")
	flags.StringVar(&f.plugin, "plugin", "", "the `file` to install as the plugin (default cni/halfclose beside this command, or ../lib/halfclose/cni/halfclose)")
	flags.BoolVar(&f.copy, "copy", false, "install a copy of this command as halfclose-reaper instead of a symbolic link")
	flags.BoolVar(&f.dropIn, "drop-in", false, "put the entry into a drop-in file, which containerd from 2.1 and CRI-O from 1.34 load")
	flags.BoolVar(&f.watch, "watch", false, "keep running, wait for a network, and restore the entry when another process rewrites the file")
	flags.BoolVar(&f.upgrade, "upgrade", false, "replace the installed programs by those of this build, and change no network")
	flags.DurationVar(&f.wait, "wait", 0, "how long to wait for the first network to appear")
	flags.StringVar(&f.logFormat, "log-format", logging.Text, "format of the log of --watch: text or json")
	completeOneOf(cmd, "log-format", logging.Text, logging.JSON)
	_ = cobra.MarkFlagFilename(flags, "config", "json") // the flag exists
	_ = cobra.MarkFlagFilename(flags, "plugin")
}

// entryFlags are the flags for the plugin's object in a conflist.
func entryFlags() []policyFlag {
	return append(policyFlags(),
		policyFlag{"pod-overrides", "podOverrides", "what a pod's annotations may change: any, relax or none (default any)", []string{"any", "relax", "none"}, textFlag},
		policyFlag{"failure-policy", "failurePolicy", "what ADD does with a mistake in the policy: ignore or fail (default ignore)", []string{"ignore", "fail"}, textFlag},
		policyFlag{"reaper", "reaper", "auto (ADD starts a reaper if none runs) or external (default auto)", []string{"auto", "external"}, textFlag},
	)
}

// config returns the configuration of the flags. The error has every mistake in the entry, with the flag or the path.
func (f *installFlags) config(flags *pflag.FlagSet) (install.Config, error) {
	switch {
	case f.watch && f.node.dryRun:
		return install.Config{}, cmdline.AsUsage(errors.New("--watch and --dry-run exclude each other: leave out one of them"))
	case f.watch && flags.Changed("wait"):
		return install.Config{}, cmdline.AsUsage(errors.New("--watch waits without a limit: leave out --wait"))
	case f.wait < 0:
		return install.Config{}, cmdline.AsUsage(fmt.Errorf("--wait: want a duration of at least 0s, not %v", f.wait))
	case f.logFormat != logging.Text && f.logFormat != logging.JSON:
		return install.Config{}, cmdline.AsUsage(fmt.Errorf("--log-format: want text or json, not %q", f.logFormat))
	}
	if err := f.checkUpgrade(flags); err != nil {
		return install.Config{}, err
	}
	c, err := f.node.config(flags)
	if err != nil {
		return install.Config{}, err
	}
	c.DropIn, c.Wait = f.dropIn, f.wait
	c.Entry, err = f.entry(flags)
	return c, err
}

// checkUpgrade refuses flags that an upgrade would ignore.
func (f *installFlags) checkUpgrade(flags *pflag.FlagSet) error {
	if !f.upgrade {
		return nil
	}
	ignored := []string{"config", "drop-in", "watch", "wait", "cni-conf-dir"}
	for _, flag := range entryFlags() {
		ignored = append(ignored, flag.name)
	}
	for _, name := range ignored {
		if flags.Changed(name) {
			return cmdline.AsUsage(fmt.Errorf("--upgrade changes no network: leave out --%s", name))
		}
	}
	return nil
}

// findPrograms adds the programs to install. The plugin must be of this command's build. If a flag names it, another build
// is only a warning.
func (f *installFlags) findPrograms(ctx context.Context, c *install.Config) (warning string, err error) {
	if c.Command, err = os.Executable(); err != nil {
		return "", fmt.Errorf("find this command's own path: %w", err)
	}
	c.Copy, c.Plugin = f.copy, f.plugin
	own := buildinfo.Get().Build()
	if f.plugin != "" {
		return pluginbuild.Check(ctx, f.plugin, own)
	}
	c.Plugin, err = pluginbuild.Find(ctx, c.Command, own)
	return "", err
}

// entry creates the plugin's object from the flags or a file.
func (f *installFlags) entry(flags *pflag.FlagSet) (install.Entry, error) {
	if f.configFile == "" {
		object, wrong := objectFrom(flags, entryFlags())
		entry, problems := install.NewEntry(object)
		if wrong = append(wrong, flagProblems(problems, entryFlags())...); len(wrong) > 0 {
			return install.Entry{}, cmdline.AsUsage(errors.New(strings.Join(wrong, "; ")))
		}
		return entry, nil
	}
	for _, flag := range entryFlags() {
		if flags.Changed(flag.name) {
			return install.Entry{}, cmdline.AsUsage(fmt.Errorf("--config and --%s exclude each other: leave out one of them", flag.name))
		}
	}
	object, err := os.ReadFile(f.configFile)
	if err != nil {
		return install.Entry{}, fmt.Errorf("read --config: %w", err)
	}
	entry, problems := install.NewEntry(object)
	if len(problems) > 0 {
		return install.Entry{}, cmdline.AsUsage(fmt.Errorf("--config %s: %s", f.configFile, strings.Join(problems.Strings(), "; ")))
	}
	return entry, nil
}

// nodeFlags are the flags for a node's plugin and network directories.
type nodeFlags struct {
	hostRoot, binDir, confDir string
	dryRun                    bool
}

func (f *nodeFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.hostRoot, "host-root", "", "the `dir` where the host's file system is mounted in a container (HALFCLOSE_HOST_ROOT)")
	flags.StringVar(&f.binDir, "cni-bin-dir", spec.DefaultBinDir, "the runtime's plugin `dir`, on the host")
	flags.StringVar(&f.confDir, "cni-conf-dir", spec.DefaultConfDir, "the runtime's network `dir`, on the host")
	flags.BoolVar(&f.dryRun, "dry-run", false, "change nothing, and show the changes")
}

// fromEnvironment sets the host's root from the environment unless a flag is given, as the reaper does.
func (f *nodeFlags) fromEnvironment(flags *pflag.FlagSet, getenv func(string) string) {
	if root := getenv("HALFCLOSE_HOST_ROOT"); root != "" && !flags.Changed("host-root") {
		f.hostRoot = root
	}
}

func (f *nodeFlags) config(flags *pflag.FlagSet) (install.Config, error) {
	for name, dir := range map[string]string{"cni-bin-dir": f.binDir, "cni-conf-dir": f.confDir} {
		if !filepath.IsAbs(dir) {
			return install.Config{}, cmdline.AsUsage(fmt.Errorf("--%s: want an absolute path on the host, such as %s, not %q", name, spec.DefaultBinDir, dir))
		}
	}
	return install.Config{
		HostRoot: f.hostRoot, BinDir: filepath.Clean(f.binDir), ConfDir: filepath.Clean(f.confDir),
		TrustBinDir: flags.Changed("cni-bin-dir"), DryRun: f.dryRun, CacheDirs: cniconf.CacheDirs(),
	}, nil
}
