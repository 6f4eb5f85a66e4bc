// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Manual writes the man pages and the shell completions of the command line: manual [-version VERSION] DIR
//
// It writes DIR/man/man8/*.8, one page for each command, and DIR/completions/{bash,zsh,fish}. The pages have the month of
// SOURCE_DATE_EPOCH, or of now. They are generated here, and not by the command, because the library would make
// it larger.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/halfclose/halfclose/pkg/cli"
	"github.com/halfclose/halfclose/pkg/daemon"
)

func main() {
	version := flag.String("version", "", "of halfclose, in the footer of each page")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "manual: want a directory")
		os.Exit(2)
	}
	if err := write(flag.Arg(0), *version); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

// write writes all files below a directory. Nothing of this machine is in them: not its environment, which is the default
// of some flags.
func write(dir, version string) error {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "HALFCLOSE_") {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	if err := writePages(filepath.Join(dir, "man/man8"), version); err != nil {
		return err
	}
	return writeCompletions(filepath.Join(dir, "completions"))
}

// writePages writes one page for each command. All are in section 8, for administrators: the reaper answers root alone.
func writePages(dir, version string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root := cli.Command(reaperCommand())
	escape(root)
	return doc.GenManTreeFromOpts(root, doc.GenManTreeOptions{
		Header: &doc.GenManHeader{Section: "8", Source: strings.TrimSpace("halfclose " + version), Manual: "halfclose"}, Path: dir, CommandSeparator: "-",
	})
}

func reaperCommand() *cobra.Command { return daemon.Command(daemon.Environment{}) }

// escape escapes what is Markdown in texts that are not, because the library parses them as Markdown, and omits the footer
// with the time of the build.
func escape(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	cmd.Long = strings.NewReplacer("<", `\<`, "*", `\*`, "_", `\_`, "[", `\[`).Replace(cmd.Long)
	for _, sub := range cmd.Commands() {
		escape(sub)
	}
}

func writeCompletions(dir string) error {
	for shell, name := range map[string]string{"bash": "halfclose", "zsh": "_halfclose", "fish": "halfclose.fish"} {
		var script, errs bytes.Buffer
		if code := cli.Main([]string{"completion", shell}, &script, &errs, reaperCommand()); code != 0 {
			return fmt.Errorf("generate the completion of %s: exit code %d: %s", shell, code, &errs)
		}
		path := filepath.Join(dir, shell, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, script.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
