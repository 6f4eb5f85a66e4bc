// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// shown is how long a program has to draw its screen: halfclose top draws its graphs from the answers of some seconds.
const shown = 8 * time.Second

// picture runs a command in a terminal, and writes the screen with its styles: of a command that goes on, what it shows
// after a while. The command line comes first, unless the screen is full.
func picture(path string, rows int, name string, args ...string) error {
	keys, tty, err := pty.Open()
	if err != nil {
		return err
	}
	defer keys.Close()
	if err := pty.Setsize(tty, &pty.Winsize{Cols: width, Rows: height}); err != nil {
		return errors.Join(err, tty.Close())
	}
	screen := vt.NewSafeEmulator(width, height)
	go func() { _, _ = io.Copy(keys, screen) }() // the answers to queries, until the end of this program
	drawn := make(chan struct{})
	go func() {
		defer close(drawn)
		_, _ = io.Copy(screen, keys) // EIO when the last program has closed the terminal
	}()

	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "COLORTERM=truecolor")
	if err := cmd.Start(); err != nil {
		return errors.Join(err, tty.Close())
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	err = tty.Close()
	text := ""
	select {
	case failed := <-exited:
		<-drawn
		err = errors.Join(err, failed)
		text = "$ " + strings.Join(append([]string{name}, args...), " ") + "\n" + screen.Render()
	case <-time.After(shown):
		text = screen.Render()
		err = errors.Join(err, cmd.Process.Kill())
		if failed := <-exited; failed == nil {
			err = errors.Join(err, errors.New("it exited on its own"))
		}
	}
	if err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, screen.String())
	}
	lines := strings.Split(strings.TrimRight(text, "\n "), "\n")
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) < rows/2 {
		return fmt.Errorf("%s %v shows only %d lines: %s", name, args, len(lines), text)
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}
