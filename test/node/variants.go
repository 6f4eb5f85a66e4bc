// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// RunVariants runs the program in parallel, once for each value of an environment variable, and returns the highest exit
// code. main calls it before [Run], and calls Run only if the variable is set. It streams the output of the first variant,
// and prints that of each other when the variant has exited.
func RunVariants(variable string, values []string) (code int, err error) {
	runtime.LockOSThread() // the kernel kills a variant with the thread that started it
	variants := make([]*variant, 0, len(values))
	for i, value := range values {
		v, startErr := startVariant(variable+"="+value, i == 0)
		if startErr != nil {
			err = errors.Join(err, fmt.Errorf("start the variant %s: %w", value, startErr))
			continue
		}
		variants = append(variants, v)
	}
	for _, v := range variants {
		err = errors.Join(err, v.wait())
		code = max(code, v.cmd.ProcessState.ExitCode())
	}
	if err != nil {
		code = max(code, 1)
	}
	return code, err
}

// variant is one run of the program.
type variant struct {
	cmd *exec.Cmd
	out *os.File // nil for the first, whose output is this process's
}

func startVariant(env string, first bool) (*variant, error) {
	v := &variant{cmd: exec.Command("/proc/self/exe")}
	v.cmd.Args, v.cmd.Env = os.Args, append(os.Environ(), env)
	v.cmd.Stdout, v.cmd.Stderr = os.Stdout, os.Stderr
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM} // which kills its node too
	if !first {
		out, err := os.CreateTemp("", "halfclose-variant")
		if err != nil {
			return nil, err
		}
		v.out, v.cmd.Stdout, v.cmd.Stderr = out, out, out
		if err := os.Remove(out.Name()); err != nil {
			return nil, errors.Join(err, out.Close())
		}
		// The go command reads the dependencies of the tests from this file: only the first variant writes it.
		v.cmd.Args = slices.DeleteFunc(slices.Clone(os.Args), func(arg string) bool { return strings.HasPrefix(arg, "-test.testlogfile=") })
	}
	return v, v.cmd.Start()
}

// wait waits until the variant has exited, and prints its output unless that was streamed.
func (v *variant) wait() error {
	err := v.cmd.Wait()
	if _, exited := errors.AsType[*exec.ExitError](err); exited && v.cmd.ProcessState.ExitCode() > 0 {
		err = nil
	}
	if v.out != nil {
		_, seekErr := v.out.Seek(0, io.SeekStart)
		_, copyErr := io.Copy(os.Stdout, v.out)
		err = errors.Join(err, seekErr, copyErr, v.out.Close())
	}
	return err
}
