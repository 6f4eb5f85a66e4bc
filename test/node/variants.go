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

// RunVariants runs the program once for each value of an environment variable, side by side, and returns the highest
// exit code. The main function calls it before [Run], which it calls itself only where the variable is set. The output
// of each run is printed as a whole: that of the first while it runs.
func RunVariants(variable string, values []string) (code int, err error) {
	runtime.LockOSThread() // a variant ends with the thread that starts it, as the node of Run does
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
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM} // which ends its node too
	if !first {
		out, err := os.CreateTemp("", "halfclose-variant")
		if err != nil {
			return nil, err
		}
		v.out, v.cmd.Stdout, v.cmd.Stderr = out, out, out
		if err := os.Remove(out.Name()); err != nil {
			return nil, errors.Join(err, out.Close())
		}
		// The go command reads from this file what the tests depend on: the first variant writes it.
		v.cmd.Args = slices.DeleteFunc(slices.Clone(os.Args), func(arg string) bool { return strings.HasPrefix(arg, "-test.testlogfile=") })
	}
	return v, v.cmd.Start()
}

// wait waits for the end of the run, and prints its output if that is not printed yet.
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
