// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/containernetworking/cni/pkg/utils"
)

// Attachment names a container's interface, as the CNI specification's section "Attachment" does.
type Attachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

const (
	// separator is in no container ID, so that the first one in a file name ends the container ID.
	separator = "@"
	suffix    = ".json"
	// maxName leaves room, in the 255 bytes that a file name may have, for what makes a temporary file's
	// name of it: a leading dot and up to 19 digits.
	maxName = 255 - 20
)

// String returns the attachment as it is shown to people; what is no valid one is quoted.
func (a Attachment) String() string {
	if a.validate() != nil {
		return fmt.Sprintf("%q, interface %q", a.ContainerID, a.IfName)
	}
	return a.ContainerID + ", interface " + a.IfName
}

// FileName returns the name of the attachment's file, "<containerID>@<ifname>.json". It errs on what is no
// valid container ID or interface name, and on names too long for a file.
func (a Attachment) FileName() (string, error) {
	if err := a.validate(); err != nil {
		return "", err
	}
	name := a.ContainerID + separator + a.IfName + suffix
	if len(name) > maxName {
		longest := maxName - len(separator+a.IfName+suffix)
		return "", fmt.Errorf("container ID of %d bytes is too long: at most %d fit in a file name",
			len(a.ContainerID), longest)
	}
	return name, nil
}

// validate checks what the CNI specification and Linux ask of the two names.
func (a Attachment) validate() error {
	// The message alone: the details may repeat the name, which need not be fit to be shown.
	if err := utils.ValidateContainerID(a.ContainerID); err != nil {
		return errors.New(err.Msg)
	}
	if err := utils.ValidateInterfaceName(a.IfName); err != nil {
		return errors.New(err.Msg)
	}
	// Linux would take these, but neither JSON nor a terminal would show them as they are.
	if !utf8.ValidString(a.IfName) || strings.ContainsFunc(a.IfName, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return errors.New("interface name has characters that cannot be printed")
	}
	return nil
}

// ParseFileName returns the attachment whose FileName is name.
func ParseFileName(name string) (Attachment, error) {
	base, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return Attachment{}, fmt.Errorf("file name does not end in %s", suffix)
	}
	id, ifname, ok := strings.Cut(base, separator)
	if !ok {
		return Attachment{}, fmt.Errorf("file name is not <containerID>%s<ifname>%s", separator, suffix)
	}
	a := Attachment{ContainerID: id, IfName: ifname}
	if _, err := a.FileName(); err != nil {
		return Attachment{}, fmt.Errorf("file name: %w", err)
	}
	return a, nil
}
