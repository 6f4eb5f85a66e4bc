# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# A reader that prints "ready", stands still until a line comes, and copies what it receives to stdout:
# reader.pl ADDRESS PORT
use strict;
use warnings;
use IO::Socket::INET;

my $socket = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => $ARGV[1]) // die "connect: $!\n";
$| = 1;
print "ready\n";
<STDIN>;
my $read;
while ($read = sysread($socket, my $received, 4096)) {
    print $received;
}
die "read: $!\n" unless defined $read;
