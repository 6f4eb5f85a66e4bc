// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command image builds a container image with two static programs for each platform, halfclose's command and its CNI
// plugin, and writes it as one archive that every loader reads. It needs no registry and no daemon. With chart it writes a packaged
// Helm chart as such an archive, and with push it sends either archive to a registry.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "image:", err)
		}
		os.Exit(1)
	}
}

// run executes a command.
func run(args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "chart":
			return runChart(args[1:], stdout, stderr)
		case "push":
			return runPush(args[1:], stdout, stderr)
		}
	}
	return runImage(args, stdout, stderr)
}

// runChart writes the archive of a chart, and prints its digest.
func runChart(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("image chart", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("o", "chart.oci.tar", "the `file` to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("name one archive of helm package")
	}
	digest, err := writeChart(*out, flags.Arg(0))
	if err != nil {
		return fmt.Errorf("write %s: %w", *out, err)
	}
	_, err = fmt.Fprintf(stdout, "%s: %s\n", *out, digest)
	return err
}

// runPush sends an archive to a registry, and prints the reference with the digest.
func runPush(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("image push", flag.ContinueOnError)
	flags.SetOutput(stderr)
	to := flags.String("to", "", "the `name` of the image or chart, with its registry and tag")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("name one archive to push")
	}
	tag, err := name.NewTag(*to, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("-to: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	digest, err := push(ctx, flags.Arg(0), tag)
	if err != nil {
		return fmt.Errorf("push %s: %w", tag, err)
	}
	_, err = fmt.Fprintf(stdout, "%s@%s\n", tag.Context(), digest)
	return err
}

// runImage writes the archive that the arguments describe, and prints its reference and digest.
func runImage(args []string, stdout, stderr io.Writer) error {
	var (
		about             about
		created           string
		out               string
		commands, plugins []string
	)
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: image -ref NAME:TAG -command FILE -plugin FILE -licenses DIR [flags]")
		flags.PrintDefaults()
	}
	flags.StringVar(&about.ref, "ref", "", "the `name` of the image, with its registry and tag")
	flags.StringVar(&about.version, "version", "", "the version of what is in it")
	flags.StringVar(&about.commit, "commit", "", "the revision that it was built from")
	flags.StringVar(&created, "created", "", "the `time` of that revision, as in RFC 3339: the same input makes the same image")
	each(flags, &commands, "command", "the `file` of the command, static; once for each platform")
	each(flags, &plugins, "plugin", "the `file` of the CNI plugin, static; once for each platform")
	flags.StringVar(&about.licences, "licenses", "", "the `directory` of the licences and notices to put into the image")
	flags.StringVar(&out, "o", "image.tar", "the `file` to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if _, err := name.NewTag(about.ref, name.StrictValidation); err != nil {
		return fmt.Errorf("-ref: %w", err)
	}
	about.created = time.Unix(0, 0)
	if created != "" {
		var err error
		if about.created, err = time.Parse(time.RFC3339, created); err != nil {
			return fmt.Errorf("-created: %w", err)
		}
	}
	if flags.NArg() != 0 {
		return fmt.Errorf("unexpected argument %q: name each program with -command or -plugin", flags.Arg(0))
	}
	if len(commands) == 0 {
		return errors.New("name the programs to put into the image with -command and -plugin")
	}
	if about.licences == "" {
		return errors.New("name the directory of the licences and notices with -licenses: an image without them must not be distributed")
	}
	b, err := build(about, commands, plugins)
	if err != nil {
		return err
	}
	digest, err := b.index.Digest()
	if err != nil {
		return err
	}
	if err := write(out, about.ref, b); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	_, err = fmt.Fprintf(stdout, "%s: %s@%s\n", out, about.ref, digest)
	return err
}

// each defines a flag that may be repeated.
func each(flags *flag.FlagSet, values *[]string, name, usage string) {
	flags.Func(name, usage, func(value string) error {
		*values = append(*values, value)
		return nil
	})
}
