# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# A client that leaves SIGPIPE as it is: client.pl ADDRESS PORT
#
# It sends a line, reads it back and prints "ready". When a line comes it sends again; if it reads the end of file
# instead of an answer it connects again, once. It prints "ok" when it has an answer.
use strict;
use warnings;
use IO::Socket::INET;

my ($address, $port) = @ARGV;

sub connected {
    return IO::Socket::INET->new(PeerAddr => $address, PeerPort => $port) // die "connect: $!\n";
}

sub ask {
    my ($socket) = @_;
    return (syswrite($socket, "ping\n") // 0) == 5 && (sysread($socket, my $answer, 100) // 0) > 0;
}

$| = 1;
my $socket = connected();
ask($socket) or die "no answer\n";
print "ready\n";
<STDIN>;
if (!ask($socket)) {
    $socket = connected();
    ask($socket) or die "no answer on a new connection\n";
}
print "ok\n";
