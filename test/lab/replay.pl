# In a guest: sends the frames of /frames in rounds, each ended by the next frame of /ends. A frame is its length in two bytes, and
# itself. The link is whatever its guest has as eth0.
use strict;
use warnings;

sub frames_of {
	open(my $file, '<:raw', shift) or die "cannot read: $!";
	my @frames;
	while (read($file, my $length, 2)) {
		read($file, my $frame, unpack('n', $length));
		push @frames, $frame;
	}
	return @frames;
}

open(my $number, '<', '/sys/class/net/eth0/ifindex') or die "no eth0: $!";
my ($ifindex) = split(' ', <$number>);
socket(my $socket, 17, 3, 0) or die "no raw socket: $!";
my $to = pack('SnlSCCa8', 17, 0, $ifindex, 0, 0, 6, '');

# What the link refuses is not sent, which is for the test to find out; where its queue is full there is room again soon.
sub out {
	my $frame = shift;
	until (defined send($socket, $frame, 0, $to)) {
		return 0 unless $! == 105 or $! == 11; # ENOBUFS, EAGAIN
		select(undef, undef, undef, 0.002);
	}
	return 1;
}

my @frames = frames_of('/frames');
my $round = 0;
for my $end (frames_of('/ends')) {
	my $refused = grep { !out($_) } @frames;
	out($end);
	$round++;
	print "guest: round $round of " . @frames . " frames, $refused refused\n";
}
