// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command release writes what a release says about itself: the notices of the linked modules' authors, and an SBOM of each
// program.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

const usage = `usage: release notices -package DIR... -platform OS/ARCH... -o FILE -licenses FILE
       release sbom -version VERSION -licenses FILE -o FILE PROGRAM
`

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "release:", err)
		}
		os.Exit(1)
	}
}

// run executes a command.
func run(args []string, stderr io.Writer) error {
	commands := map[string]func([]string, io.Writer) error{"notices": runNotices, "sbom": runSBOM}
	if len(args) > 0 {
		if command, ok := commands[args[0]]; ok {
			return command(args[1:], stderr)
		}
	}
	fmt.Fprint(stderr, usage)
	return errors.New("name a command: notices or sbom")
}

// runNotices writes the notices of packages, and the list of licences that runSBOM reads.
func runNotices(args []string, stderr io.Writer) error {
	var packages, platforms []string
	flags := flagSet("notices", stderr)
	each(flags, &packages, "package", "the `directory` of a program; may be repeated")
	each(flags, &platforms, "platform", "an `OS/ARCH` that the programs are built for; may be repeated")
	out := flags.String("o", "THIRD_PARTY_NOTICES", "the `file` to write")
	list := flags.String("licenses", "licenses.json", "the `file` for the list of licences")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if len(packages) == 0 || len(platforms) == 0 || flags.NArg() != 0 {
		return errors.New("name the programs with -package and the platforms with -platform")
	}
	linked, err := linkedModules(packages, platforms)
	if err != nil {
		return err
	}
	libraries, err := readLicences(linked)
	if err != nil {
		return err
	}
	if err := writeList(*list, libraries); err != nil {
		return err
	}
	return writeNotices(*out, libraries)
}

// runSBOM writes the SBOM of a program.
func runSBOM(args []string, stderr io.Writer) error {
	flags := flagSet("sbom", stderr)
	version := flags.String("version", "", "the `version` of the program, such as v0.1.0")
	list := flags.String("licenses", "licenses.json", "the `file` that notices wrote")
	out := flags.String("o", "", "the `file` to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 || *version == "" || *out == "" {
		return errors.New("name one program, -version and -o")
	}
	libraries, err := readList(*list)
	if err != nil {
		return err
	}
	return writeSBOM(*out, flags.Arg(0), *version, libraries)
}

// flagSet returns the flags of a command.
func flagSet(name string, stderr io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet("release "+name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	return flags
}

// each defines a flag that may be repeated.
func each(flags *flag.FlagSet, values *[]string, name, usage string) {
	flags.Func(name, usage, func(value string) error {
		if strings.TrimSpace(value) == "" {
			return errors.New("it is empty")
		}
		*values = append(*values, value)
		return nil
	})
}
